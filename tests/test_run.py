"""The driver: every search means the same at the same budget, alone or among others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import (
    Completion,
    Problem,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    Steps,
    UserError,
    derive_seed,
)
from system2.run import run
from system2.search import SEARCHES
from system2.search.moves import expand
from system2.tree import ROOT, Tree

PARAMS = SamplingParams(max_tokens=12)


@dataclass
class HashPolicy:
    """A policy without a model: a draw's length and tokens follow from its seed by hash."""

    calls: list[int] = field(default_factory=list[int])

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        self.calls.append(len(requests))
        return [
            [[self._draw(r, p, i) for i in range(r.n)] for p in range(len(r.prefixes))]
            for r in requests
        ]

    def _draw(self, request: SampleRequest, p: int, i: int) -> Completion:
        key = (request.seed, request.prefixes[p], i)
        wanted = 1 + derive_seed("length", *key) % 15
        count = min(wanted, request.params.max_tokens)
        tokens = tuple(derive_seed("token", *key, t) % 50 for t in range(count))
        return Completion(tokens, (-1.0,) * count, "eos" if count == wanted else "length")


@dataclass
class HashVerifier:
    """A verifier without a model: a prefix's value follows from it by hash."""

    calls: list[int] = field(default_factory=list[int])

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        self.calls.append(len(requests))
        return [[derive_seed(prefix) % 100 / 100 for prefix in r.prefixes] for r in requests]


STEP = {"branch": 3, "max_depth": 3}
DIALS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sample": {"samples": 4},
    "best_of_n": {"samples": 4},
    "beam": {"width": 2, **STEP},
    "best_first": {"iterations": 5, **STEP},
    "mcts": {"iterations": 5, **STEP},
    "mcts by rollouts": {"iterations": 4, "rollouts": 2, "rollout_tokens": 9, **STEP},
}
every_search = pytest.mark.parametrize("name", DIALS)


def tree(number: int) -> Tree:
    problem = Problem(f"p{number}", "?", "1", "sums")
    return Tree(problem, derive_seed("tree", number), (number + 1, 2, 3))


def search(name: str, grown: Tree, **dials: Any) -> Steps[None]:
    chosen = {dial: dials.get(dial, value) for dial, value in DIALS[name].items()}
    return SEARCHES[name.split()[0]](grown, params=PARAMS, **chosen)


def grown_by(name: str, count: int, budget: int | None, **dials: Any) -> list[Tree]:
    trees = [tree(number) for number in range(count)]
    searches = [(each, search(name, each, **dials)) for each in trees]
    run(searches, HashPolicy(), HashVerifier(), budget=budget)
    return trees


def test_every_search_is_held_to_its_budget_here() -> None:
    assert {name.split()[0] for name in DIALS} == set(SEARCHES)


@every_search
@given(budget=st.integers(1, 200), wide=st.integers(1, 8))
def test_a_search_keeps_its_budget_and_what_it_found(name: str, budget: int, wide: int) -> None:
    for grown in grown_by(name, 3, budget, samples=wide, branch=wide):
        assert grown.sampled_tokens <= budget
        kept = sum(len(node.tokens) for node in grown.nodes)
        assert kept == grown.sampled_tokens  # any-time: what was paid for is in the tree
        for index in range(len(grown.nodes)):
            assert grown.path(index)[0] == ROOT


@every_search
@pytest.mark.parametrize("budget", [None, 1, 30, 100])
def test_among_others_is_as_alone(name: str, budget: int | None) -> None:
    together = grown_by(name, 6, budget)
    for number, grown in enumerate(together):
        alone = tree(number)
        run([(alone, search(name, alone))], HashPolicy(), HashVerifier(), budget=budget)
        assert list(alone.nodes) == list(grown.nodes)
        assert (alone.sampled_tokens, alone.scored_prefixes) == (
            grown.sampled_tokens,
            grown.scored_prefixes,
        )


@every_search
def test_a_budget_that_is_never_reached_changes_nothing(name: str) -> None:
    for free, bound in zip(grown_by(name, 3, None), grown_by(name, 3, 10**6), strict=True):
        assert list(free.nodes) == list(bound.nodes)


@pytest.mark.parametrize("name", ["greedy", "sample", "best_of_n", "beam"])
def test_a_tick_is_one_call_to_each_model(name: str) -> None:
    policy, verifier = HashPolicy(), HashVerifier()
    trees = [tree(number) for number in range(5)]
    run([(each, search(name, each)) for each in trees], policy, verifier)
    moves = max(node.depth for each in trees for node in each.nodes)
    assert policy.calls[0] == 5
    assert len(policy.calls) == moves
    assert len(verifier.calls) == (moves if name in ("beam", "best_of_n") else 0)


@every_search
def test_each_tree_is_handed_over_once_when_it_is_done(name: str) -> None:
    trees = [tree(number) for number in range(4)]
    handed: list[tuple[Tree, int]] = []
    run(
        [(each, search(name, each)) for each in trees],
        HashPolicy(),
        HashVerifier(),
        budget=40,
        on_finish=lambda done: handed.append((done, len(done.nodes))),
    )
    assert sorted(map(id, trees)) == sorted(id(done) for done, _ in handed)
    assert all(len(done.nodes) == then for done, then in handed)


def test_a_search_out_of_budget_is_closed_where_it_stands() -> None:
    closed: list[str] = []

    def endless(grown: Tree) -> Steps[None]:
        try:
            while True:
                yield from expand(grown, [ROOT], 1, PARAMS)
        finally:
            closed.append("closed")

    grown = tree(0)
    run([(grown, endless(grown))], HashPolicy(), budget=33)
    assert closed == ["closed"]
    assert grown.sampled_tokens == 33


def test_a_search_without_room_for_a_token_each_is_not_served() -> None:
    grown = tree(0)
    policy = HashPolicy()
    run([(grown, search("sample", grown, samples=8))], policy, budget=7)
    assert policy.calls == []
    assert len(grown.nodes) == 1


def test_values_are_still_given_when_the_budget_is_spent() -> None:
    grown = tree(0)
    run([(grown, search("best_of_n", grown, samples=2))], HashPolicy(), HashVerifier(), budget=24)
    ended = [node for node in grown.nodes[1:] if node.terminal]
    assert ended
    assert all(node.value is not None for node in ended)
    assert grown.scored_prefixes == len(ended)


def test_a_search_that_needs_a_verifier_says_so() -> None:
    trees = [tree(0), tree(1)]
    with pytest.raises(UserError, match="needs a verifier"):
        run([(each, search("best_of_n", each)) for each in trees], HashPolicy())


def test_searches_of_different_kinds_run_together() -> None:
    trees = [tree(number) for number in range(len(DIALS))]
    searches = [(each, search(name, each)) for each, name in zip(trees, DIALS, strict=True)]
    run(searches, HashPolicy(), HashVerifier())
    for number, name in enumerate(DIALS):
        alone = tree(number)
        run([(alone, search(name, alone))], HashPolicy(), HashVerifier())
        assert list(alone.nodes) == list(trees[number].nodes)


def test_no_search_is_no_work() -> None:
    run([], HashPolicy())
