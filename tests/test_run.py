"""The driver: every search means the same at the same budget, alone or among others."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import (
    Completion,
    Problem,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    Steps,
    Tokens,
    UserError,
    derive_seed,
)
from system2.run import run
from system2.search import SCORED_SEARCHES, SEARCHES
from system2.search.moves import expand
from system2.select import SELECTIONS
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


def in_threes(tokens: Tokens) -> list[Tokens]:
    return [tokens[i : i + 3] for i in range(0, len(tokens), 3)]


STEP = {"branch": 3, "max_depth": 3}
FOUR = {"samples": 4}
DIALS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sample": FOUR,
    "majority": FOUR,
    "adaptive_consistency": {"answer_of": lambda tokens: str(len(tokens) % 3), "samples": 9},
    "best_of_n": FOUR,
    "best_of_n with accept": {"samples": 9, "accept": 0.9},
    "weighted_majority": FOUR,
    "revision": {"context": lambda earlier: (49, *sum(earlier, ())), "window": 2, **FOUR},
    "meta": {"cut": in_threes, **FOUR},
    "beam": {"width": 2, **STEP},
    "diverse_beam": {"width": 2, **STEP},
    "lookahead": {"width": 2, "lookahead": 2, **STEP},
    "best_first": {"iterations": 5, **STEP},
    "best_first with accept": {"iterations": 5, "accept": 0.5, **STEP},
    "astar": {"iterations": 5, **STEP},
    "dfs": {"iterations": 5, "prune": 0.2, **STEP},
    "particle": {"width": 3, "max_depth": 3},
    "mcts": {"iterations": 5, **STEP},
    "mcts by puct": {"iterations": 5, "formula": "puct", **STEP},
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
@settings(max_examples=30)
@given(budget=st.integers(1, 200), wide=st.integers(1, 8))
def test_a_search_keeps_its_budget_and_what_it_found(name: str, budget: int, wide: int) -> None:
    for grown in grown_by(name, 3, budget, samples=wide, branch=wide):
        assert grown.sampled_tokens <= budget
        kept = sum(len(node.tokens) for node in grown.nodes)
        assert kept == grown.sampled_tokens  # any-time: what was paid for is in the tree
        for index in range(len(grown.nodes)):
            assert grown.path(index)[0] == ROOT


@every_search
def test_no_budget_is_overdrawn_by_a_token(name: str) -> None:
    """Every budget from 1 to what the search costs without one."""
    (free,) = grown_by(name, 1, None)
    for budget in range(1, free.sampled_tokens + 2):
        (grown,) = grown_by(name, 1, budget)
        assert grown.sampled_tokens <= budget
        assert sum(len(node.tokens) for node in grown.nodes) == grown.sampled_tokens


@every_search
def test_closed_at_any_request_a_search_leaves_a_valid_tree(name: str) -> None:
    for num_requests in range(12):
        grown = tree(3)
        steps = search(name, grown)
        answer: Any = None
        for _ in range(num_requests):
            try:
                request = steps.send(answer)
            except StopIteration:
                break
            model: Any = HashPolicy().sample if isinstance(request, SampleRequest) else (
                HashVerifier().score
            )  # fmt: skip
            (answer,) = model([request])
        steps.close()
        assert grown.leaves()
        for index, node in enumerate(grown.nodes):
            assert grown.path(index)[0] == ROOT
            assert len(node.tokens) == len(node.logprobs)
            assert node.value is None or 0 <= node.value <= 1
        for rule in SELECTIONS.values():
            chosen = rule(grown, lambda leaf: str(leaf))
            assert chosen is None or grown.nodes[chosen].terminal


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


@dataclass
class Broken:
    """A verifier whose answer is what it is told to be."""

    answer: Any
    name: str = ""

    def score(self, requests: Sequence[ScoreRequest]) -> Any:
        return self.answer


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("name", SCORED_SEARCHES)
@pytest.mark.parametrize("value", [NAN, -0.001, 1.001, INF, -INF, "0.5", None, [0.5], 10**400, 1j])
def test_a_value_that_is_no_value_is_named(name: str, value: Any) -> None:
    class Odd:
        def score(self, requests: Sequence[ScoreRequest]) -> Any:
            return [[value for _ in r.prefixes] for r in requests]

    trees = [tree(number) for number in range(3)]
    with pytest.raises(UserError) as raised:
        run([(each, search(name, each)) for each in trees], HashPolicy(), Odd())
    assert re.fullmatch(r"verifier Odd, problem 'p\d': the value .* \[0, 1\]", str(raised.value))
    assert repr(value)[:100] in str(raised.value)
    assert not any(node.value is not None for each in trees for node in each.nodes)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([[0.5, 0.5]], "problem 'p0': 2 values of prefixes, where 3 are asked for"),
        ([[0.5] * 4], "problem 'p0': 4 values of prefixes, where 3 are asked for"),
        ([[]], "problem 'p0': 0 values of prefixes, where 3 are asked for"),
        ([], "problem 'p0' and on: 0 answers to requests, where 1 are asked for"),
        ([[0.5] * 3] * 2, "problem 'p0' and on: 2 answers to requests, where 1 are asked for"),
        ([0.5], "problem 'p0': 0.5 in place of 3 values of prefixes"),
        (None, "problem 'p0' and on: None in place of 1 answers to requests"),
        ("values", "problem 'p0' and on: 'values' in place of 1 answers to requests"),
        ([[0.5, 0.5, NAN]], "problem 'p0': the value nan is no number in [0, 1]"),
        ([{0: 0.5}], "problem 'p0': {0: 0.5} in place of 3 values of prefixes"),
    ],
)
def test_too_few_values_and_too_many_are_counted(answer: Any, said: str) -> None:
    grown = tree(0)
    with pytest.raises(UserError) as raised:
        run([(grown, search("beam", grown))], HashPolicy(), Broken(answer, "prm/first"))
    assert str(raised.value) == f"verifier prm/first, {said}"


def test_values_may_come_as_arrays_and_whole_numbers() -> None:
    np = pytest.importorskip("numpy")
    for answer in (np.full((1, 3), 0.25, np.float32), [[0, 1, 1.0]], ((1, 0, True),)):
        grown = tree(0)
        steps = search("beam", grown)
        with suppress(UserError):  # later there may be more to score than this one scores
            run([(grown, steps)], HashPolicy(), Broken(answer))
        values = [node.value for node in grown.nodes[1:4]]
        assert values == [float(value) for value in answer[0]]
        assert all(type(value) is float for value in values)


ONE = Completion((1, 2), (-1.0, -1.0), "eos")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([[[ONE] * 3]], "problem 'p0': 3 completions of a prefix, where 4 are asked for"),
        ([[[ONE] * 5]], "problem 'p0': 5 completions of a prefix, where 4 are asked for"),
        ([[]], "problem 'p0': 0 lists of completions, where 1 are asked for"),
        ([], "problem 'p0' and on: 0 answers to requests, where 1 are asked for"),
        (None, "problem 'p0' and on: None in place of 1 answers to requests"),
        ([[["text"] * 4]], "problem 'p0': 'text' is no completion"),
        ([[[Completion((1,), (), "eos")] * 4]], "problem 'p0': 1 tokens, but 0 logprobs"),
        ([[[Completion((1,) * 9, (-1.0,) * 9, "eos")] * 4]],
         "problem 'p0': a completion of 9 tokens, where 7 were allowed"),
    ],
)  # fmt: skip
def test_a_policy_that_breaks_its_word_is_named(answer: Any, said: str) -> None:
    class Short:
        def sample(self, requests: Sequence[SampleRequest]) -> Any:
            return answer

    grown = tree(0)
    with pytest.raises(UserError) as raised:
        run([(grown, search("sample", grown))], Short(), budget=30)
    assert str(raised.value) == f"policy Short, {said}"
