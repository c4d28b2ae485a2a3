"""What every search keeps to: it repeats itself, solves what greedy does not, refuses bad dials.

The budget, and that a search among others is the search alone, are held in `tests/test_run.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
from system2.select import best
from system2.tree import Tree

PARAMS = SamplingParams(max_tokens=4)
STEPS, CHOICES = 4, 3
GOAL = (2, 1, 2, 1)
"""The one right attempt of the toy world; the likeliest is (0, 0, 0, 0)."""
STEP = {"branch": 24, "max_depth": STEPS}
DIALS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sample": {"samples": 400},
    "best_of_n": {"samples": 400},
    "beam": {"width": 3, **STEP},
    "best_first": {"iterations": 40, **STEP},
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


def test_every_search_is_here() -> None:
    assert {name.split()[0] for name in DIALS} == set(SEARCHES)
    assert set(STEP_SEARCHES) <= set(SCORED_SEARCHES) <= set(SEARCHES)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", DIALS)
def test_a_search_with_an_oracle_solves_what_greedy_does_not(name: str, seed: int) -> None:
    tree = grown(name, seed)
    if name == "greedy":
        assert answer(tree) == (0, 0, 0, 0)
    elif name == "sample":  # there, and not told from the others
        assert GOAL in {tree.completion(leaf) for leaf in tree.leaves()}
    else:
        assert answer(tree) == GOAL


@pytest.mark.parametrize("name", DIALS)
def test_a_seed_gives_the_same_tree_again(name: str) -> None:
    one, same, other = grown(name, 1), grown(name, 1), grown(name, 2)
    assert list(one.nodes) == list(same.nodes)
    assert name == "greedy" or list(one.nodes) != list(other.nodes)


@pytest.mark.parametrize("name", [name for name in DIALS if name.split()[0] in STEP_SEARCHES])
def test_an_accepted_attempt_ends_a_search(name: str) -> None:
    whole, short = grown(name, 1), grown(name, 1, accept=1.0)
    assert answer(short) == GOAL
    assert short.sampled_tokens <= whole.sampled_tokens
    tokens = [node.tokens for node in whole.nodes]
    assert [node.tokens for node in short.nodes] == tokens[: len(short.nodes)]


@pytest.mark.parametrize(
    ("name", "dials", "named"),
    [
        ("beam", {"width": 0}, "beam: width is 0"),
        ("beam", {"branch": 0}, "beam: branch is 0"),
        ("beam", {"accept": 1.5}, "beam: accept is 1.5"),
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
    dials = {**DIALS[name], "max_depth": 10**6, "branch": 1}
    search = SEARCHES[name.split()[0]](tree, params=PARAMS, **dials)
    run([(tree, search)], FullPolicy(limit), Oracle())
    assert max(len(tree.prefix(node)) for node in range(len(tree.nodes))) == limit
    assert not any(node.terminal for node in tree.nodes)
