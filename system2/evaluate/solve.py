"""Solve problems: search, select, grade; one row of a trees file a problem.

Place in the flow: problems and a policy come in, `run` steps a search a problem, `select`
picks an attempt, the task grades it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from inspect import signature
from itertools import islice, pairwise
from typing import Any

from system2.core import Problem, SamplingParams, Steps, Task, UserError, Verifier, derive_seed
from system2.engine.local import LocalPolicy
from system2.engine.remote import RemotePolicy
from system2.run import run
from system2.search import SEARCHES, STEP_SEARCHES
from system2.select import SELECTIONS
from system2.store import tree_row
from system2.tree import Tree
from system2.verify.folders import load_verifier
from system2.verify.token import PlausibleGuide, TokenVerifier, VerifierGuide

SELECTION_OF = {"greedy": "best", "sample": "majority", "best_of_n": "best"}
"""How each search's attempts are chosen from, unless asked otherwise."""
DIALS = ("samples", "width", "branch", "max_depth", "iterations")
"""What a configuration can say to a search that has a parameter of that name."""


@dataclass(frozen=True, slots=True)
class SolveConfig:
    """How to solve: a search with its dials, a selection, a budget in sampled tokens a problem.

    A search takes those of the dials that it has a parameter of; `max_tokens` is the longest
    attempt, or the longest step of a search over steps.
    """

    search: str = "greedy"
    samples: int = 1
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

    def steps(self, tree: Tree, step_stop: str) -> Steps[None]:
        """Return the search of a tree; `step_stop` ends a step. Raises: `UserError`."""
        dials = {dial: getattr(self, dial) for dial in dials_of(self.search)}
        temperature = 0.0 if self.search == "greedy" else self.temperature
        stop = (step_stop,) if self.search in STEP_SEARCHES else ()
        params = SamplingParams(self.max_tokens, temperature, self.top_p, stop=stop)
        return SEARCHES[self.search](tree, params=params, **dials)


def dials_of(search: str) -> tuple[str, ...]:
    """Return which of a configuration's `DIALS` a search has. Raises: `UserError`."""
    if search not in SEARCHES:
        raise UserError(f"no search {search!r}; there are {', '.join(SEARCHES)}")
    return tuple(dial for dial in DIALS if dial in signature(SEARCHES[search]).parameters)


def solve(
    policy: LocalPolicy | RemotePolicy,
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
    name = config.select or SELECTION_OF.get(config.search, "best")
    if name not in SELECTIONS:
        raise UserError(f"no selection {name!r}; there are {', '.join(SELECTIONS)}")
    iterator = iter(problems)
    while batch := list(islice(iterator, chunk)):
        trees = [
            Tree(p, derive_seed("solve", config.seed, p.id), policy.tokenizer.prompt(p.prompt))
            for p in batch
        ]
        if isinstance(policy, LocalPolicy):
            policy.forget()
        before = _positions(policy)
        searches = [(tree, config.steps(tree, task.step_stop)) for tree in trees]
        run(searches, policy, verifier, budget=config.budget)
        after, weights = _positions(policy), [tree.sampled_tokens for tree in trees]
        computed: list[int] | list[None] = [None] * len(trees)
        if before is not None and after is not None:
            computed = _shares(after - before, weights)
        for tree, positions in zip(trees, computed, strict=True):
            yield _row(tree, policy, task, name, positions)


def _positions(policy: LocalPolicy | RemotePolicy) -> int | None:
    """Return how many positions a policy has computed, None where it is not known."""
    return policy.positions_computed if isinstance(policy, LocalPolicy) else None


def _shares(total: int, weights: list[int]) -> list[int]:
    """Split the positions of a shared batch over its trees, in proportion to sampled tokens."""
    whole = sum(weights) or 1
    ends = [0]
    for weight in weights:
        ends.append(ends[-1] + weight)
    return [total * b // whole - total * a // whole for a, b in pairwise(ends)]


def _row(
    tree: Tree,
    policy: LocalPolicy | RemotePolicy,
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
    verifier: str | None,
    *,
    alpha: float | None = None,
    beta: float | None = None,
    gate: float = 1.0,
) -> tuple[LocalPolicy, Verifier | None]:
    """Return a policy decoding under a verifier, and the verifier of whole solutions.

    `verifier` names a folder or one shipped with `tiny` (None: none). A token verifier
    guides the policy's decoding, with its own alpha and beta unless given, where the policy is
    less sure than `gate`; an outcome verifier scores attempts. With alpha alone, the plausible
    set is all that guides.
    """
    if verifier is None:
        guide = None if alpha is None else PlausibleGuide(alpha)
        return replace(policy, guide=guide), None
    learned, settings = load_verifier(verifier, policy)
    if not isinstance(learned, TokenVerifier):
        return policy, learned
    a = alpha if alpha is not None else float(settings.get("alpha", 0.1))
    b = beta if beta is not None else float(settings.get("beta", 0.25))
    return replace(policy, guide=VerifierGuide(learned, a, b, gate)), None
