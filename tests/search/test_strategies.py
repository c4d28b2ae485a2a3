"""Each search in a scripted world whose solution its own strategy reaches and others do not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from system2.core import (
    Completion,
    FinishReason,
    Problem,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    Tokens,
)
from system2.evaluate.solve import SolveConfig
from system2.run import run
from system2.search import SEARCHES, STEP_SEARCHES
from system2.select import SELECTIONS
from system2.tree import Tree

PROMPT, SHOWN = 100, 101
"""The first token of the problem's own prompt, and of one that shows earlier attempts."""


@dataclass
class World:
    """A policy and a verifier by the book; a step is a token, and its text is the token.

    `step(prefix, number, start)` is the token that follows a prefix (prompt included) in the
    draw of a number (they are counted through), which began at `start`; a negative number is
    greedy's. An attempt ends at `length` tokens, or as the right one.
    """

    step: Callable[[Tokens, int, Tokens], int]
    right: Tokens
    value: Callable[[Tokens, tuple[Tokens, ...]], float] = lambda prefix, tried: 0.5
    length: int = 3
    cost: Callable[[Tokens], float] = lambda prefix: 0.1
    asked: list[Tokens] = field(default_factory=list[Tokens])
    num_drawn: int = 0

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        return [[[self._draw(r, p) for _ in range(r.n)] for p in r.prefixes] for r in requests]

    def _draw(self, request: SampleRequest, start: Tokens) -> Completion:
        self.asked.append(start)
        number = -1 if request.params.temperature == 0 else self.num_drawn
        self.num_drawn += number >= 0
        tokens: Tokens = ()
        reason: FinishReason = "length"
        done = len(start) - 1 if start[0] == PROMPT else 0
        while len(tokens) < request.params.max_tokens and reason == "length":
            tokens += (self.step((*start, *tokens), number, start),)
            reason = "stop" if request.params.stop else reason
            is_right = (*start[1:], *tokens) == self.right
            reason = "eos" if done + len(tokens) >= self.length or is_right else reason
        costs = [self.cost((*start, *tokens[: i + 1])) for i in range(len(tokens))]
        return Completion(tokens, tuple(-cost for cost in costs), reason)

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        return [[self.value(prefix[1:], r.tried) for prefix in r.prefixes] for r in requests]


def answer_of(tokens: Tokens) -> str:
    return " ".join(map(str, tokens))


def searched(world: World, search: str, dials: dict[str, Any], budget: int) -> str | None:
    """Return the answer that a search's own selection chooses."""
    tree = Tree(Problem("world", "?", "", "toy"), 3, (PROMPT,))
    stop = ("step",) if search in STEP_SEARCHES else ()
    params = SamplingParams(max_tokens=1 if stop else 9, stop=stop)
    reads: dict[str, Any] = {
        "adaptive_consistency": {"answer_of": answer_of},
        "revision": {"context": lambda earlier: (SHOWN, *earlier[-1])},
        "meta": {"cut": lambda tokens: [(token,) for token in tokens]},
    }
    steps = SEARCHES[search](tree, params=params, **dials, **reads.get(search, {}))
    run([(tree, steps)], world, world, budget=budget)
    leaf = SELECTIONS[SolveConfig(search).selection](
        tree, lambda leaf: answer_of(tree.completion(leaf))
    )
    return None if leaf is None else answer_of(tree.completion(leaf))


def by_number(*tokens: int) -> Callable[[Tokens, int, Tokens], int]:
    """Attempt k consists of token k, whatever came before; greedy takes the first."""
    return lambda prefix, number, start: tokens[max(0, number) % len(tokens)]


def either(prefix: Tokens, number: int, start: Tokens) -> int:
    """Two next steps of every prefix, 0 and 1, drawn in turn; greedy takes 0."""
    return max(0, number) % 2


def valued(table: dict[Tokens, float], rest: float = 0.1) -> Any:
    return lambda prefix, tried: table.get(prefix, rest)


CROWD = {
    (0,): 0.9, (0, 0): 0.8, (0, 1): 0.8,
    (1,): 0.6, (1, 0): 0.5, (1, 1): 0.5, (1, 0, 0): 1.0,
}  # fmt: skip
"""The offspring of (0) looks better than that of (1), and ends wrong."""
BROAD = {
    (0,): 0.9, (0, 0): 0.6, (0, 0, 0): 0.6, (0, 0, 1): 0.6,
    (1,): 0.5, (1, 1): 0.58, (1, 1, 1): 0.7, (1, 1, 1, 1): 1.0,
}  # fmt: skip
"""Depth by depth, (1) is among the best two; never is it the best of all that is open."""


def chain(prefix: Tokens, tried: tuple[Tokens, ...]) -> float:
    """All that begins with 0 looks well, always; 1 does less so, and ends right."""
    if prefix[:1] == (0,):
        return 0.1 if len(prefix) == 9 else 0.8
    return {(1,): 0.7, (1, 1): 0.75, (1, 1, 1): 1.0}.get(prefix, 0.1)


def meta_critic(prefix: Tokens, tried: tuple[Tokens, ...]) -> float:
    """Once 0 0 0 was tried, it is where that attempt went wrong that is worth another look."""
    if prefix == (0, 0, 7):
        return 1.0
    plain = {(): 0.9, (0,): 0.5, (0, 0): 0.4}
    seen = {(): 0.1, (0,): 0.2, (0, 0): 0.8}
    return (seen if (0, 0, 0) in tried else plain).get(prefix, 0.0)


BRANCH = {"branch": 2, "max_depth": 9}
NINE = {"samples": 9}
WORLDS: dict[str, tuple[Callable[[], World], dict[str, Any], dict[str, dict[str, Any]], int]] = {
    # search: (its world, its dials, rivals with theirs, budget)
    "greedy": (
        lambda: World(lambda prefix, number, start: 0 if number < 0 else 1, (0, 0, 0)),
        {}, {"sample": NINE, "best_of_n": NINE}, 100,
    ),
    "sample": (
        lambda: World(lambda prefix, number, start: 0 if number < 0 else 1, (1, 1, 1)),
        NINE, {"greedy": {}}, 100,
    ),
    "majority": (  # the most frequent is right; another attempt is valued more
        lambda: World(by_number(2, 3, 1, 1, 3, 1), (1,), lambda p, _: float(p == (2,)), 1),
        {"samples": 6}, {"best_of_n": {"samples": 6}, "greedy": {}}, 100,
    ),
    "adaptive_consistency": (  # four agree; what comes after them is wrong
        lambda: World(by_number(*[1] * 4, *[2] * 30), (1,), length=1),
        {"samples": 34}, {"majority": {"samples": 34}}, 100,
    ),
    "best_of_n": (
        lambda: World(by_number(2, 1, 2, 2), (1,), valued({(1,): 0.9}, 0.5), 1),
        {"samples": 4}, {"majority": {"samples": 4}, "weighted_majority": {"samples": 4},
                         "greedy": {}}, 100,
    ),
    "weighted_majority": (  # 2 is the most frequent, 3 the best
        lambda: World(by_number(2, 1, 2, 1, 2, 3), (1,),
                      valued({(2,): 0.1, (1,): 0.8, (3,): 0.9}), 1),
        {"samples": 6}, {"majority": {"samples": 6}, "best_of_n": {"samples": 6}}, 100,
    ),
    "revision": (  # right only in sight of two others in a row
        lambda: World(lambda p, number, start: 7 if start[:2] == (SHOWN, 5) else
                      5 if start[0] == SHOWN else 1, (7,), lambda p, _: float(p == (7,)), 1),
        {"samples": 3}, {"best_of_n": NINE, "meta": NINE, "beam": {"width": 2, **BRANCH}}, 100,
    ),
    "meta": (
        lambda: World(lambda p, number, start: 7 if start == (PROMPT, 0, 0) else 0, (0, 0, 7),
                      meta_critic),
        {"samples": 3}, {"best_of_n": NINE, "revision": NINE}, 100,
    ),
    "beam": (  # the tempting (0) eats the budget of those that go by the best of all
        lambda: World(either, (1, 1, 1, 1), valued(BROAD), length=4),
        {"width": 2, **BRANCH},
        {"beam": {"width": 1, **BRANCH}, "best_first": BRANCH, "dfs": BRANCH}, 14,
    ),
    "diverse_beam": (
        lambda: World(either, (1, 0, 0), valued(CROWD)), {"width": 2, **BRANCH},
        {"beam": {"width": 2, **BRANCH}}, 100,
    ),
    "lookahead": (  # (0) tempts; a step further it is seen to fail
        lambda: World(either, (1, 0, 1), valued({(0,): 0.9, (1,): 0.5, (1, 0): 0.8, (0, 0): 0.1,
                                                  (0, 1): 0.1, (1, 0, 1): 1.0})),
        {"width": 1, **BRANCH}, {"beam": {"width": 1, **BRANCH}}, 100,
    ),
    "best_first": (  # comes back to (1) when (0) disappoints; dfs first exhausts what is under (0)
        lambda: World(either, (1, 1, 1), valued({(0,): 0.9, (1,): 0.5, (1, 1): 0.8,
                                                  (1, 1, 1): 1.0})),
        {"iterations": 4, **BRANCH},
        {"beam": {"width": 1, **BRANCH}, "dfs": {"iterations": 4, **BRANCH}}, 100,
    ),
    "astar": (  # the chain looks better and is improbable
        lambda: World(either, (1, 1, 1), chain, length=3,
                      cost=lambda prefix: 3.0 if prefix[1] == 0 else 0.1),
        {"iterations": 3, **BRANCH},
        {"best_first": {"iterations": 3, **BRANCH}, "dfs": {"iterations": 3, **BRANCH}}, 100,
    ),
    "dfs": (  # all look alike: going deep first finishes attempts, going broad does not
        lambda: World(either, (0, 0, 0, 0, 1), lambda p, _: 0.5 + 0.5 * (p == (0, 0, 0, 0, 1)), 5),
        {"iterations": 5, **BRANCH},
        {"best_first": {"iterations": 5, **BRANCH}, "mcts": {"iterations": 5, **BRANCH}}, 100,
    ),
    "mcts": (  # explores (1), which values alone never choose
        lambda: World(either, (1, 1, 1), chain, length=9),
        {"iterations": 30, **BRANCH}, {"best_first": {"iterations": 30, **BRANCH},
                                       "dfs": {"iterations": 30, **BRANCH},
                                       "beam": {"width": 2, **BRANCH}}, 1000,
    ),
    "particle": (  # eight prefixes; the right one looks worse than the other seven
        lambda: World(lambda p, number, start: number % 8 if len(start) == 1 else 0, (7, 0),
                      lambda p, _: 1.0 if p == (7, 0) else 0.1 if len(p) == 2 else
                      0.45 + 0.05 * (p != (7,)), 2),
        {"width": 8, "max_depth": 2, "resample_temperature": 100.0},
        {"beam": {"width": 7, "branch": 8, "max_depth": 2},
         "best_first": {"iterations": 8, "branch": 8, "max_depth": 2}}, 100,
    ),
}  # fmt: skip


def test_every_search_has_its_world() -> None:
    assert set(WORLDS) == set(SEARCHES)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_reaches_what_its_strategy_is_for(search: str) -> None:
    make, dials, _, budget = WORLDS[search]
    world = make()
    assert searched(world, search, dials, budget) == answer_of(world.right)


@pytest.mark.parametrize(
    ("search", "rival"), [(search, rival) for search in WORLDS for rival in WORLDS[search][2]]
)
def test_another_strategy_does_not(search: str, rival: str) -> None:
    make, _, rivals, budget = WORLDS[search]
    world = make()
    assert searched(world, rival, rivals[rival], budget) != answer_of(world.right)


def test_a_critic_that_does_not_see_what_was_tried_is_the_control() -> None:
    make, dials, _, budget = WORLDS["meta"]
    world = make()
    world.value = lambda prefix, tried: meta_critic(prefix, ())
    assert searched(world, "meta", dials, budget) == "0 0 0"
    assert world.asked == [(PROMPT,)] * 3


def test_revision_shows_the_last_attempts_and_no_other() -> None:
    shown: list[list[Tokens]] = []

    def context(earlier: Sequence[Tokens]) -> Tokens:
        shown.append(list(earlier))
        return (SHOWN, *earlier[-1])

    world = World(lambda prefix, number, start: number, (99,), length=1)
    tree = Tree(Problem("world", "?", "", "toy"), 3, (PROMPT,))
    steps = SEARCHES["revision"](
        tree, samples=5, params=SamplingParams(max_tokens=9), context=context, window=2
    )
    run([(tree, steps)], world, world)
    assert shown == [[(0,)], [(0,), (1,)], [(1,), (2,)], [(2,), (3,)]]
    assert [node.parent for node in tree.nodes[1:]] == [0] * 5
    assert [tree.prefix(leaf) for leaf in tree.leaves()] == [(PROMPT, k) for k in range(5)]
    assert all(tree.nodes[leaf].terminal and tree.nodes[leaf].value for leaf in tree.leaves())
