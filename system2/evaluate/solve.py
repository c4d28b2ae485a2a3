"""Solve problems: search, select, grade; one row of a trees file a problem.

Place in the flow: problems and a policy come in, `run` steps a search a problem, `select`
picks an attempt, the task grades it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from itertools import islice, pairwise
from typing import Any, TypeAlias

from system2.core import Problem, SamplingParams, Steps, Task, UserError, Verifier, derive_seed
from system2.engine.local import LocalPolicy
from system2.engine.processes import ProcessPolicy
from system2.engine.remote import RemotePolicy
from system2.evaluate.reading import Reading, longest_prompt
from system2.run import run
from system2.search import SEARCHES, STEP_SEARCHES
from system2.search.fill import REPEATED, fill
from system2.search.mcts import Formula
from system2.select import SELECTIONS
from system2.store import tree_row
from system2.tree import Tree
from system2.verify.combined import JudgeRule, combine
from system2.verify.exact import EXACT_VERIFIERS, exact_verifier
from system2.verify.folders import load_verifier
from system2.verify.token import PlausibleGuide, TokenVerifier, VerifierGuide

AnyPolicy: TypeAlias = LocalPolicy | ProcessPolicy | RemotePolicy
"""A policy that can also read and write text."""
SELECTION_OF = {
    "greedy": "best",
    "sample": "majority",
    "majority": "majority",
    "adaptive_consistency": "majority",
    "best_of_n": "best",
    "weighted_majority": "weighted_majority",
}
"""How each search's attempts are chosen from, unless asked otherwise; "best" if it is not here."""
SAMPLES_OF = {"adaptive_consistency": 40, "revision": 8, "meta": 8}
"""How many attempts a search makes at most, unless told otherwise; one if it is not here."""
DIALS = (
    "samples", "width", "branch", "max_depth", "iterations", "accept", "formula", "exploration",
    "rollouts", "prune", "weight", "resample_temperature", "lookahead", "window",
)  # fmt: skip
"""What a configuration can say to a search that has a parameter of that name."""
READERS = ("answer_of", "context", "cut")
"""What a search can ask of a `Reading`."""


@dataclass(frozen=True, slots=True)
class SolveConfig:
    """How to solve: a search with its dials, a selection, a budget in sampled tokens a problem.

    A search takes those of the dials that it has a parameter of; `max_tokens` is the longest
    attempt, or the longest step of a search over steps. `samples` None: as `SAMPLES_OF` says;
    `exploration` None: the formula's own; `accept` None: no attempt ends a search early. With
    `fill`, independent attempts are drawn until the budget is spent, whatever `samples` is.
    """

    search: str = "greedy"
    samples: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    budget: int | None = None
    select: str | None = None
    seed: int = 0
    width: int = 4
    branch: int = 4
    max_depth: int = 16
    iterations: int = 32
    accept: float | None = None
    formula: Formula = "uct"
    exploration: float | None = None
    rollouts: int = 0
    prune: float = 0.05
    weight: float = 1.0
    resample_temperature: float = 1.0
    lookahead: int = 1
    window: int = 4
    fill: bool = False

    def steps(self, tree: Tree, step_stop: str, reading: Reading | None = None) -> Steps[None]:
        """Return the search of a tree; `step_stop` ends a step.

        `reading` serves the searches that read text; without it they can be made, not run.
        Raises: `UserError` on an unknown search and a dial out of its range.
        """
        if self.fill and self.search in REPEATED:
            return self._filling(tree, lambda config: config.steps(tree, step_stop, reading))
        dials = {dial: getattr(self, dial) for dial in dials_of(self.search)}
        if "samples" in dials and self.samples is None:
            dials["samples"] = SAMPLES_OF.get(self.search, 1)
        dials |= {name: getattr(reading, name, _unread) for name in readers_of(self.search)}
        temperature = 0.0 if self.search == "greedy" else self.temperature
        stop = (step_stop,) if self.search in STEP_SEARCHES else ()
        params = SamplingParams(self.max_tokens, temperature, self.top_p, stop=stop)
        return SEARCHES[self.search](tree, params=params, **dials)

    @property
    def selection(self) -> str:
        """The name of the rule that chooses an attempt."""
        return self.select or SELECTION_OF.get(self.search, "best")

    def _filling(self, tree: Tree, steps: Callable[["SolveConfig"], Steps[None]]) -> Steps[None]:
        if self.budget is None:
            raise UserError(f"search {self.search} has no budget to fill; give --budget")
        once = replace(self, fill=False)
        _ = steps(once)  # what is wrong with a dial is said now
        return fill(
            tree,
            lambda count: steps(replace(once, samples=count)),
            budget=self.budget,
            max_tokens=self.max_tokens,
            accept=self.accept,
        )


def _unread(tokens: object) -> Any:
    """Stand in for what reads text in a search that is only looked at."""
    raise UserError("this search reads the text of attempts; give `steps` a reading")


def dials_of(search: str) -> tuple[str, ...]:
    """Return which of a configuration's `DIALS` a search has. Raises: `UserError`."""
    return _taken(search, DIALS)


def readers_of(search: str) -> tuple[str, ...]:
    """Return which functions of a `Reading` a search takes. Raises: `UserError`."""
    return _taken(search, READERS)


def _taken(search: str, names: Iterable[str]) -> tuple[str, ...]:
    if search not in SEARCHES:
        raise UserError(f"no search {search!r}; there are {', '.join(SEARCHES)}")
    return tuple(name for name in names if name in signature(SEARCHES[search]).parameters)


def solve(
    policy: AnyPolicy,
    task: Task,
    problems: Iterable[Problem],
    config: SolveConfig,
    *,
    verifier: Verifier | None = None,
    chunk: int = 64,
) -> Iterator[dict[str, Any]]:
    """Yield the row of each problem's tree, in order.

    Problems go through in chunks, whose searches are batched together; what a problem's
    search draws depends on the seed and the problem alone, what it costs on its chunk.
    """
    name = config.selection
    if name not in SELECTIONS:
        raise UserError(f"no selection {name!r}; there are {', '.join(SELECTIONS)}")
    iterator = iter(problems)
    while batch := list(islice(iterator, chunk)):
        trees = [
            Tree(p, derive_seed("solve", config.seed, p.id), policy.tokenizer.prompt(p.prompt))
            for p in batch
        ]
        if not isinstance(policy, RemotePolicy):
            policy.forget()
        before = _positions(policy)
        searches = [
            (tree, config.steps(tree, task.step_stop, _reading(policy, task, tree, config)))
            for tree in trees
        ]
        run(searches, policy, verifier, budget=config.budget)
        after, weights = _positions(policy), [tree.sampled_tokens for tree in trees]
        computed: list[int] | list[None] = [None] * len(trees)
        if before is not None and after is not None:
            computed = _shares(after - before, weights)
        for tree, positions in zip(trees, computed, strict=True):
            yield _row(tree, policy, task, name, positions)


def _reading(policy: AnyPolicy, task: Task, tree: Tree, config: SolveConfig) -> Reading | None:
    """Return how the attempts at a tree's problem are read, None where the search does not."""
    if not readers_of(config.search):
        return None
    return Reading(
        policy.tokenizer,
        tree.problem.prompt,
        ask=policy.tokenizer.prompt,
        read=partial(task.answer_of, tree.problem),
        step_stop=task.step_stop,
        max_prompt=None
        if isinstance(policy, RemotePolicy)
        else longest_prompt(policy.model.config.max_positions, config.max_tokens),
    )


def _positions(policy: AnyPolicy) -> int | None:
    """Return how many positions a policy has computed, None where it is not known."""
    return None if isinstance(policy, RemotePolicy) else policy.positions_computed


def _shares(total: int, weights: list[int]) -> list[int]:
    """Split the positions of a shared batch over its trees, in proportion to sampled tokens."""
    whole = sum(weights) or 1
    ends = [0]
    for weight in weights:
        ends.append(ends[-1] + weight)
    return [total * b // whole - total * a // whole for a, b in pairwise(ends)]


def _row(
    tree: Tree,
    policy: AnyPolicy,
    task: Task,
    selection: str,
    positions: int | None,
) -> dict[str, Any]:
    """Select, grade, and return the tree as a row."""
    texts = {
        leaf: policy.tokenizer.decode(tree.completion(leaf))
        for leaf in tree.leaves()
        if tree.nodes[leaf].terminal
    }
    answers = {leaf: task.answer_of(tree.problem, text) for leaf, text in texts.items()}
    grades = {leaf: task.grade(tree.problem, text) for leaf, text in texts.items()}
    chosen = SELECTIONS[selection](tree, answers.get)
    return tree_row(
        tree,
        text=lambda tokens: policy.tokenizer.decode(tokens),
        answer=None if chosen is None else answers[chosen],
        grade=False if chosen is None else grades[chosen],
        positions_computed=positions,
        attempts={leaf: (answers[leaf], grades[leaf]) for leaf in texts},
    )


def equip(
    policy: LocalPolicy,
    verifier: str | Sequence[str] | None,
    *,
    task: Task | None = None,
    judge: JudgeRule = "product",
    alpha: float | None = None,
    beta: float | None = None,
    gate: float = 1.0,
) -> tuple[LocalPolicy, Verifier | None]:
    """Return a policy decoding under a verifier, and the one that judges what a search finds.

    `verifier` names a folder, one shipped with `tiny`, or an exact one (`oracle`, `optimal`: by
    the task), or several of them (None: none). A token verifier guides the policy's decoding,
    with its own alpha and beta unless given, where the policy is less sure than `gate`; the
    others judge, several of them by the rule `judge`. With alpha and no token verifier, the
    plausible set is all that guides.
    Raises: `UserError` on two token verifiers, one named twice, or an exact one without a task.
    """
    names = (verifier,) if isinstance(verifier, str) else tuple(verifier or ())
    guide = None if alpha is None else PlausibleGuide(alpha)
    guided_by: str | None = None
    judges: dict[str, Verifier] = {}
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"verifier {name} is named twice; once is enough")
        if name in EXACT_VERIFIERS:
            judges[name] = exact_verifier(name, task, policy.tokenizer)
            continue
        learned, settings = load_verifier(name, policy)
        if not isinstance(learned, TokenVerifier):
            judges[name] = learned
            continue
        if guided_by is not None:
            raise UserError(f"{guided_by} and {name} both judge tokens; one can guide decoding")
        a = alpha if alpha is not None else float(settings.get("alpha", 0.1))
        b = beta if beta is not None else float(settings.get("beta", 0.25))
        guided_by, guide = name, VerifierGuide(learned, a, b, gate)
    guided = policy if guide is None and judges else replace(policy, guide=guide)
    return guided, combine(judges, judge, policy.tokenizer)
