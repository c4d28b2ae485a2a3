"""Monte-Carlo tree search over reasoning steps.

Source: Meta-CoT (arXiv 2501.04682) appendix D: select by UCT down to a leaf, draw `branch` next
steps of it, take their values, and back the leaf's own value up as means. UCT is printed there
with its two counts exchanged; here it is Kocsis and Szepesvari's. PUCT is AlphaZero's, as TS-LLM
(arXiv 2309.17179) uses it over steps. We differ: the constant, which the paper does not give, is
UCB1's; among children never visited, for which UCT is infinite, the one of the highest value
comes first; a step that several draws agree on is one child.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

from system2.core import SamplingParams, Steps, UserError
from system2.search.moves import check_dials, evaluate, expand, grow, is_solved, value_of
from system2.tree import ROOT, Tree

Formula: TypeAlias = Literal["uct", "puct"]
EXPLORATION: dict[Formula, float] = {"uct": math.sqrt(2), "puct": 1.25}
"""How much each formula explores, unless told otherwise: UCB1's constant, and TS-LLM's."""
PUCT_BASE = 19652
"""After about so many visits PUCT explores more (AlphaZero's constant)."""


def uct(mean: float, visits: int, parent_visits: int, exploration: float) -> float:
    """Return UCT's upper bound of a child: infinite where it was never visited.

    >>> uct(0.5, 4, 16, exploration=1.0) == 0.5 + math.sqrt(math.log(16) / 4)
    True
    """
    if not visits:
        return math.inf
    return mean + exploration * math.sqrt(math.log(parent_visits) / visits)


def puct(mean: float, visits: int, parent_visits: int, prior: float, exploration: float) -> float:
    """Return PUCT's score of a child; `prior` in [0, 1] sums to 1 over siblings.

    >>> round(puct(0.5, 1, 9, prior=0.5, exploration=1.25), 3)
    1.438
    """
    rate = exploration + math.log((parent_visits + PUCT_BASE + 1) / PUCT_BASE)
    return mean + rate * prior * math.sqrt(parent_visits) / (1 + visits)


@dataclass(slots=True)
class Facts:
    """What a search knows of a node.

    `visits` are the iterations that came through it, `mean` that of the values that they backed
    up (its own value until there are some), `prior` its share, in [0, 1], of the likelihood
    among its siblings; `children` are those of its nodes that count.
    """

    mean: float
    prior: float = 1.0
    visits: int = 0
    children: list[int] = field(default_factory=list[int])


def mcts(
    tree: Tree,
    *,
    branch: int,
    max_depth: int,
    iterations: int,
    params: SamplingParams,
    formula: Formula = "uct",
    exploration: float | None = None,
    rollouts: int = 0,
    rollout_tokens: int = 256,
    accept: float | None = None,
    facts: dict[int, Facts] | None = None,
) -> Steps[None]:
    """Visit a leaf an iteration: the one to which the formula leads from the root.

    `params` are those of one step, of which an attempt has at most `max_depth`. A new node is
    judged by a verifier's value call; with `rollouts`, by so many attempts that go on from it
    for at most `rollout_tokens`: its value is the mean of theirs, an attempt that comes to no
    end counting 0. When the search ends, a node that can be selected has the mean of what was
    backed up through it as its value (its own where it was never visited). A finished attempt
    of a value >= `accept` ends the search. Into `facts`, if it is given, goes what is known of
    each of these nodes.
    Raises: `UserError` on a dial out of its range.
    """
    dials = {"branch": branch, "max_depth": max_depth, "iterations": iterations}
    check_dials("mcts", accept, **dials, rollout_tokens=rollout_tokens)
    if formula not in get_args(Formula):
        raise UserError(f"mcts: no formula {formula!r}; there are {', '.join(get_args(Formula))}")
    weight = EXPLORATION[formula] if exploration is None else exploration
    if not 0 <= weight < math.inf:
        raise UserError(f"mcts: exploration is {weight}; it must be finite and >= 0")
    if rollouts < 0:
        raise UserError(f"mcts: rollouts is {rollouts}; it must be >= 0 (0: value calls)")

    def score(parent: Facts, child: Facts) -> float:
        if formula == "uct":
            return uct(child.mean, child.visits, parent.visits, weight)
        return puct(child.mean, child.visits, parent.visits, child.prior, weight)

    def judge(nodes: Sequence[int], counted: Sequence[int]) -> Steps[None]:
        if not rollouts:
            return evaluate(tree, nodes)
        whole = replace(params, max_tokens=rollout_tokens, stop=())
        return _roll_out(tree, nodes, counted, rollouts, whole)

    known = {} if facts is None else facts
    return _mcts(tree, branch, max_depth, iterations, params, score, judge, accept, known)


def _mcts(
    tree: Tree,
    branch: int,
    max_depth: int,
    iterations: int,
    params: SamplingParams,
    score: Callable[[Facts, Facts], float],
    judge: Callable[[Sequence[int], Sequence[int]], Steps[None]],
    accept: float | None,
    known: dict[int, Facts],
) -> Steps[None]:
    yield from judge([ROOT], [ROOT])
    if is_solved(tree, ROOT, accept):
        return
    known[ROOT] = Facts(value_of(tree, ROOT))
    try:
        for _ in range(iterations):
            path = _select(known, score)
            leaf, since = path[-1], len(tree.nodes)
            node, value = tree.nodes[leaf], known[leaf].mean
            if not (node.terminal or node.depth >= max_depth or known[leaf].visits):
                children, counted = yield from grow(tree, [leaf], branch, params)
                yield from judge(children, counted)
                for child, prior in zip(counted, _priors(tree, counted), strict=True):
                    known[child] = Facts(value_of(tree, child), prior)
                known[leaf].children = counted
            for at in path:
                facts = known[at]
                facts.visits += 1
                facts.mean += (value - facts.mean) / facts.visits
            if is_solved(tree, since, accept):
                return
    finally:  # the budget may close the search at any request
        for at, facts in known.items():
            tree.set_value(at, min(1.0, max(0.0, facts.mean)))


def _select(known: dict[int, Facts], score: Callable[[Facts, Facts], float]) -> list[int]:
    """Return the path from the root to a leaf; ties by value, then to what was found first."""
    path = [ROOT]
    while (facts := known[path[-1]]).children:
        rank = {at: (score(facts, known[at]), known[at].mean) for at in facts.children}
        path.append(max(facts.children, key=rank.__getitem__))
    return path


def _priors(tree: Tree, siblings: Sequence[int]) -> list[float]:
    """Return each step's likelihood a token (geometric mean), made to sum to 1 over siblings.

    As TS-LLM does: the likelihoods of whole steps fall too fast with their length.
    """
    steps = [tree.nodes[at].logprobs for at in siblings]
    likelihoods = [math.exp(math.fsum(step) / len(step)) for step in steps]
    total = math.fsum(likelihoods) or 1.0
    return [likelihood / total for likelihood in likelihoods]


def _roll_out(
    tree: Tree,
    nodes: Sequence[int],
    counted: Sequence[int],
    rollouts: int,
    params: SamplingParams,
) -> Steps[None]:
    """Value finished attempts by the verifier, others by how attempts that go on from them end."""
    ended = [node for node in nodes if tree.nodes[node].terminal]
    begun = [node for node in counted if not tree.nodes[node].terminal]
    attempts = yield from expand(tree, begun, rollouts, params)
    finished = [attempt for attempt in attempts if tree.nodes[attempt].terminal]
    yield from evaluate(tree, [*ended, *finished])
    for i, node in enumerate(begun):
        values = [tree.nodes[at].value for at in attempts[i * rollouts : (i + 1) * rollouts]]
        tree.set_value(node, math.fsum(value or 0.0 for value in values) / rollouts)
