"""What every search keeps to: it repeats itself, solves what greedy does not, refuses bad dials.

The budget, and that a search among others is the search alone, are held in `tests/test_run.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import pytest

from system2.core import (
    Completion,
    FinishReason,
    Problem,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    UserError,
    derive_seed,
)
from system2.run import run
from system2.search import SCORED_SEARCHES, SEARCHES, STEP_SEARCHES
from system2.select import SELECTIONS, best
from system2.tree import Tree

PARAMS = SamplingParams(max_tokens=4)
STEPS, CHOICES = 4, 3
GOAL = (2, 1, 2, 1)
"""The one right attempt of the toy world; the likeliest is (0, 0, 0, 0)."""
STEP = {"branch": 24, "max_depth": STEPS}
MANY = {"samples": 400}
DIALS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sample": MANY,
    "majority": MANY,
    "adaptive_consistency": {"answer_of": lambda tokens: None, "samples": 1200},
    "best_of_n": MANY,
    "weighted_majority": MANY,
    "revision": {"context": lambda earlier: (9,), **MANY},
    "meta": {"cut": lambda tokens: [(token,) for token in tokens], **MANY},
    "beam": {"width": 3, **STEP},
    "diverse_beam": {"width": 3, **STEP},
    "lookahead": {"width": 3, "lookahead": 0, **STEP},  # greedy steps only lead astray here
    "best_first": {"iterations": 40, **STEP},
    "astar": {"iterations": 40, "weight": 9.0, **STEP},
    "dfs": {"iterations": 40, "prune": 0.5, **STEP},
    "particle": {"width": 24, "max_depth": STEPS},
    "mcts": {"iterations": 40, **STEP},
    "mcts by puct": {"iterations": 40, "formula": "puct", **STEP},
    "mcts by rollouts": {"iterations": 40, "rollouts": 8, "rollout_tokens": 4, **STEP},
}


@dataclass
class ToyPolicy:
    """Chooses one of three steps, four times; the right one is never the likeliest."""

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        return [
            [[self._draw(r, p, i) for i in range(r.n)] for p in range(len(r.prefixes))]
            for r in requests
        ]

    def _draw(self, request: SampleRequest, p: int, i: int) -> Completion:
        tokens: tuple[int, ...] = ()
        done = len(request.prefixes[p]) - 1  # the prompt is one token
        reason: FinishReason = "length"
        while len(tokens) < request.params.max_tokens:
            chance = derive_seed(request.seed, p, i, len(tokens)) % 100
            token = 0 if request.params.temperature == 0 or chance < 50 else 1 + chance % 2
            tokens += (token,)
            if done + len(tokens) == STEPS:
                reason = "eos"
                break
            if request.params.stop:
                reason = "stop"
                break
        return Completion(tokens, (-1.0,) * len(tokens), reason)


class Oracle:
    """Knows whether a prefix can still end right."""

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        return [
            [float(prefix[1:] == GOAL[: len(prefix) - 1]) for prefix in r.prefixes]
            for r in requests
        ]


def grown(name: str, seed: int, **more: Any) -> Tree:
    tree = Tree(Problem("toy", "?", "", "toy"), seed, (9,))
    search = name.split()[0]
    stop = ("step",) if search in STEP_SEARCHES else ()
    params = SamplingParams(max_tokens=PARAMS.max_tokens, stop=stop)
    run(
        [(tree, SEARCHES[search](tree, params=params, **DIALS[name], **more))],
        ToyPolicy(),
        Oracle(),
    )
    return tree


def answer(tree: Tree) -> tuple[int, ...] | None:
    leaf = best(tree, lambda leaf: str(tree.completion(leaf)))
    return None if leaf is None else tree.completion(leaf)


def best_value(tree: Tree) -> float:
    return max(node.value or 0.0 for node in tree.nodes if node.terminal)


def test_every_search_is_here() -> None:
    assert {name.split()[0] for name in DIALS} == set(SEARCHES)
    assert set(STEP_SEARCHES) <= set(SCORED_SEARCHES) <= set(SEARCHES)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", DIALS)
def test_a_search_with_an_oracle_solves_what_greedy_does_not(name: str, seed: int) -> None:
    tree = grown(name, seed)
    if name == "greedy":
        assert answer(tree) == (0, 0, 0, 0)
    elif name.split()[0] not in SCORED_SEARCHES:  # there, and not told from the others
        assert GOAL in {tree.completion(leaf) for leaf in tree.leaves()}
    else:
        assert answer(tree) == GOAL


@pytest.mark.parametrize("name", DIALS)
def test_a_seed_gives_the_same_tree_again(name: str) -> None:
    one, same, other = grown(name, 1), grown(name, 1), grown(name, 2)
    assert list(one.nodes) == list(same.nodes)
    assert name == "greedy" or list(one.nodes) != list(other.nodes)


@dataclass
class Unfinished:
    """Draws attempts that come to no end: cut short by their length."""

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        return [
            [[self._draw(r, prefix, i) for i in range(r.n)] for prefix in r.prefixes]
            for r in requests
        ]

    def _draw(self, request: SampleRequest, prefix: tuple[int, ...], i: int) -> Completion:
        count = 1 if request.params.stop else request.params.max_tokens
        tokens = tuple(derive_seed(request.seed, prefix, i, k) % 3 for k in range(count))
        return Completion(tokens, (-1.0,) * count, "stop" if request.params.stop else "length")


@pytest.mark.parametrize("selection", SELECTIONS)
@pytest.mark.parametrize("name", DIALS)
def test_without_a_finished_attempt_there_is_no_answer(name: str, selection: str) -> None:
    tree = Tree(Problem("toy", "?", "", "toy"), 0, (9,))
    search = name.split()[0]
    small = {"samples": 4, "branch": 2, "iterations": 9, "width": 2}
    dials = {dial: small.get(dial, value) for dial, value in DIALS[name].items()}
    stop = ("step",) if search in STEP_SEARCHES else ()
    params = SamplingParams(max_tokens=PARAMS.max_tokens, stop=stop)
    run([(tree, SEARCHES[search](tree, params=params, **dials))], Unfinished(), Oracle())
    assert len(tree.nodes) > 1
    assert not any(node.terminal for node in tree.nodes)
    assert SELECTIONS[selection](tree, lambda leaf: "a guess") is None


@pytest.mark.parametrize("name", [name for name in DIALS if name.split()[0] in SCORED_SEARCHES])
def test_an_accepted_attempt_ends_a_search(name: str) -> None:
    whole, short = grown(name, 1), grown(name, 1, accept=1.0)
    assert answer(short) == GOAL
    assert short.sampled_tokens <= whole.sampled_tokens
    assert best_value(short) == 1.0
    if name not in ("best_of_n", "weighted_majority"):  # they draw a few at a time to stop early
        tokens = [node.tokens for node in whole.nodes]
        assert [node.tokens for node in short.nodes] == tokens[: len(short.nodes)]


def test_a_search_that_asks_for_scores_can_be_told_what_to_accept() -> None:
    for name, search in SEARCHES.items():
        assert ("accept" in signature(search).parameters) == (name in SCORED_SEARCHES), name


@pytest.mark.parametrize(
    ("name", "dials", "named"),
    [
        ("beam", {"width": 0}, "beam: width is 0"),
        ("beam", {"branch": 0}, "beam: branch is 0"),
        ("beam", {"accept": 1.5}, "beam: accept is 1.5"),
        ("best_of_n", {"samples": 0}, "best_of_n: samples is 0"),
        ("best_of_n", {"accept": -0.5}, "best_of_n: accept is -0.5"),
        ("weighted_majority", {"accept": 2}, "weighted_majority: accept is 2"),
        ("adaptive_consistency", {"samples": 0}, "adaptive_consistency: samples is 0"),
        ("revision", {"samples": 0}, "revision: samples is 0"),
        ("revision", {"window": 0}, "revision: window is 0"),
        ("meta", {"samples": 0}, "meta: samples is 0"),
        ("meta", {"accept": 1.01}, "meta: accept is 1.01"),
        ("diverse_beam", {"width": 0}, "diverse_beam: width is 0"),
        ("lookahead", {"lookahead": -1}, "lookahead: lookahead is -1"),
        ("lookahead", {"branch": 0}, "lookahead: branch is 0"),
        ("astar", {"weight": -1.0}, "astar: weight is -1.0"),
        ("astar", {"weight": float("nan")}, "astar: weight is nan"),
        ("astar", {"iterations": 0}, "astar: iterations is 0"),
        ("dfs", {"prune": 1.1}, "dfs: prune is 1.1"),
        ("dfs", {"prune": float("nan")}, "dfs: prune is nan"),
        ("particle", {"width": 0}, "particle: width is 0"),
        ("particle", {"resample_temperature": 0.0}, "resample_temperature is 0.0"),
        ("particle", {"resample_temperature": float("inf")}, "resample_temperature is inf"),
        ("best_first", {"max_depth": 0}, "best_first: max_depth is 0"),
        ("best_first", {"iterations": 0}, "best_first: iterations is 0"),
        ("best_first", {"accept": float("nan")}, "best_first: accept is nan"),
        ("mcts", {"iterations": -1}, "mcts: iterations is -1"),
        ("mcts", {"formula": "ucb"}, "no formula 'ucb'; there are uct, puct"),
        ("mcts", {"exploration": -0.1}, "exploration is -0.1"),
        ("mcts", {"exploration": float("inf")}, "exploration is inf"),
        ("mcts", {"rollouts": -1}, "rollouts is -1"),
        ("mcts", {"rollout_tokens": 0}, "rollout_tokens is 0"),
    ],
)
def test_a_wrong_dial_is_refused_before_anything_is_asked(
    name: str, dials: dict[str, Any], named: str
) -> None:
    tree = Tree(Problem("toy", "?", "", "toy"), 0, (9,))
    with pytest.raises(UserError, match=named):
        SEARCHES[name](tree, params=PARAMS, **{**DIALS[name], **dials})


@dataclass
class FullPolicy:
    """A model of `limit` positions: it cuts completions there and has none where it is full."""

    limit: int
    calls: int = 0

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        self.calls += len(requests)
        assert self.calls < 100, "the search goes on for ever"
        return [
            [[self._draw(prefix, r, i) for i in range(r.n)] for prefix in r.prefixes]
            for r in requests
        ]

    def _draw(self, prefix: tuple[int, ...], request: SampleRequest, i: int) -> Completion:
        assert len(prefix) <= self.limit
        count = min(request.params.max_tokens, self.limit - len(prefix))
        return Completion((i,) * count, (-1.0,) * count, "length")


@pytest.mark.parametrize("limit", range(1, 12))
@pytest.mark.parametrize("name", [name for name in DIALS if name.split()[0] in STEP_SEARCHES])
def test_a_model_that_is_full_ends_a_search(name: str, limit: int) -> None:
    tree = Tree(Problem("toy", "?", "", "toy"), 0, (9,))
    dials = {dial: {"max_depth": 10**6, "branch": 1, "prune": 0}.get(dial, value)
             for dial, value in DIALS[name].items()}  # fmt: skip
    search = SEARCHES[name.split()[0]](tree, params=PARAMS, **dials)
    run([(tree, search)], FullPolicy(limit), Oracle())
    assert max(len(tree.prefix(node)) for node in range(len(tree.nodes))) == limit
    assert not any(node.terminal for node in tree.nodes)
