"""The searches that draw whole attempts, stepped by hand."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import (
    Completion,
    FinishReason,
    Problem,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    Steps,
    UserError,
    derive_seed,
)
from system2.search import SEARCHES
from system2.search.adaptive import adaptive_consistency, lead_probability
from system2.search.meta import meta
from system2.search.moves import evaluate, expand
from system2.search.parallel import FEW, best_of_n, greedy, majority, sample, weighted_majority
from system2.tree import ROOT, Tree

PROBLEM = Problem(id="p", prompt="?", answer="1", task="sums")
PARAMS = SamplingParams(max_tokens=8, temperature=0.7)


def tree(seed: int = 5) -> Tree:
    return Tree(PROBLEM, seed=seed, prompt=(7, 8))


def drawn(request: SampleRequest, reasons: tuple[FinishReason, ...]) -> list[list[Completion]]:
    """Draw i of prefix p depends on (seed, p, i) only, as a policy must see to."""

    def one(p: int, i: int) -> Completion:
        token = derive_seed(request.seed, p, i) % 1000
        return Completion((token, i), (-0.5, -0.25), reasons[i % len(reasons)])

    return [[one(p, i) for i in range(request.n)] for p in range(len(request.prefixes))]


def step_through(
    steps: Steps[None],
    reasons: tuple[FinishReason, ...] = ("eos",),
    value: Callable[[tuple[int, ...]], float] = lambda prefix: prefix[-1] / 10,
) -> list[SampleRequest | ScoreRequest]:
    """Answer a search to its end and return what it asked."""
    asked: list[SampleRequest | ScoreRequest] = []
    try:
        request = next(steps)
        while True:
            asked.append(request)
            if isinstance(request, SampleRequest):
                request = steps.send(drawn(request, reasons))
            else:
                request = steps.send([value(prefix) for prefix in request.prefixes])
    except StopIteration:
        return asked


def test_greedy_asks_once_for_one_certain_attempt() -> None:
    grown = tree()
    (request,) = step_through(greedy(grown, params=PARAMS))
    assert isinstance(request, SampleRequest)
    assert request.prefixes == ((7, 8),)
    assert request.n == 1
    assert request.params == replace(PARAMS, temperature=0.0)
    assert len(grown.nodes) == 2


def test_samples_hang_under_the_root_with_what_was_drawn() -> None:
    grown = tree()
    (request,) = step_through(sample(grown, samples=4, params=PARAMS), ("eos", "length", "stop"))
    assert isinstance(request, SampleRequest)
    expected = drawn(request, ("eos", "length", "stop"))[0]
    assert [node.tokens for node in grown.nodes[1:]] == [c.tokens for c in expected]
    assert [node.logprobs for node in grown.nodes[1:]] == [c.logprobs for c in expected]
    assert [node.terminal for node in grown.nodes[1:]] == [True, False, True, True]
    assert {node.parent for node in grown.nodes[1:]} == {ROOT}


def test_fewer_samples_are_the_first_of_more() -> None:
    few, many, other = tree(), tree(), tree(seed=6)
    step_through(sample(few, samples=4, params=PARAMS))
    step_through(sample(many, samples=20, params=PARAMS))
    step_through(sample(other, samples=4, params=PARAMS))
    assert list(few.nodes) == list(many.nodes[:5])
    assert list(few.nodes) != list(other.nodes)


def test_best_of_n_scores_the_attempts_that_ended() -> None:
    grown = tree()
    first, second = step_through(best_of_n(grown, samples=3, params=PARAMS), ("eos", "length"))
    assert isinstance(first, SampleRequest)
    assert isinstance(second, ScoreRequest)
    assert second.problem is PROBLEM
    assert second.prefixes == (grown.prefix(1), grown.prefix(3))
    assert [node.value for node in grown.nodes[1:]] == [0.0, None, 0.2]


def test_best_of_n_asks_no_verifier_where_nothing_ended() -> None:
    assert len(step_through(best_of_n(tree(), samples=3, params=PARAMS), ("length",))) == 1


def test_moves_of_one_search_draw_differently() -> None:
    def twice(grown: Tree) -> Steps[None]:
        children = yield from expand(grown, [ROOT], 2, PARAMS)
        yield from expand(grown, [ROOT, *children], 2, PARAMS, ends=())

    first, second = step_through(twice(grown := tree()), ("stop",))
    assert isinstance(first, SampleRequest)
    assert isinstance(second, SampleRequest)
    assert first.seed != second.seed
    assert second.prefixes == ((7, 8), grown.prefix(1), grown.prefix(2))
    assert [node.parent for node in grown.nodes] == [None, 0, 0, 0, 0, 1, 1, 2, 2]
    assert not any(node.terminal for node in grown.nodes)


def test_nothing_is_asked_for_no_nodes() -> None:
    def idle(grown: Tree) -> Steps[None]:
        assert (yield from expand(grown, [], 2, PARAMS)) == []
        yield from evaluate(grown, [])

    assert step_through(idle(tree())) == []


@pytest.mark.parametrize("name", ["greedy", "sample", "best_of_n"])
def test_a_search_repeats_itself(name: str) -> None:
    dials = {} if name == "greedy" else {"samples": 3}
    grown = [tree(), tree()]
    asked = [step_through(SEARCHES[name](each, params=PARAMS, **dials)) for each in grown]
    assert asked[0] == asked[1]
    assert list(grown[0].nodes) == list(grown[1].nodes)


def test_votes_are_cast_over_the_same_trees() -> None:
    trees = [tree() for _ in range(4)]
    step_through(sample(trees[0], samples=7, params=PARAMS), ("eos", "length"))
    step_through(majority(trees[1], samples=7, params=PARAMS), ("eos", "length"))
    step_through(best_of_n(trees[2], samples=7, params=PARAMS), ("eos", "length"))
    step_through(weighted_majority(trees[3], samples=7, params=PARAMS), ("eos", "length"))
    assert list(trees[0].nodes) == list(trees[1].nodes)
    assert list(trees[2].nodes) == list(trees[3].nodes)
    assert [node.tokens for node in trees[0].nodes] == [node.tokens for node in trees[2].nodes]


@pytest.mark.parametrize("search", [best_of_n, weighted_majority])
def test_attempts_come_a_few_at_a_time_until_one_is_accepted(search: Any) -> None:
    grown = tree()
    steps = search(grown, samples=11, params=PARAMS, accept=0.9)
    asked = step_through(steps, value=lambda prefix: 0.9 if len(grown.nodes) > 8 else 0.2)
    assert [type(request) for request in asked] == [SampleRequest, ScoreRequest] * 2
    assert len(grown.nodes) == 1 + 2 * FEW
    never = step_through(search(tree(), samples=11, params=PARAMS, accept=0.95))
    counts = [request.n for request in never if isinstance(request, SampleRequest)]
    assert counts == [FEW, FEW, 3]
    assert len({request.seed for request in never if isinstance(request, SampleRequest)}) == 3


def test_how_probable_a_lead_is() -> None:
    """Against the integral of the Beta density over (1/2, 1), by Simpson's rule."""
    for first, second in [(0, 0), (1, 0), (4, 0), (3, 1), (7, 3), (12, 5), (2, 2), (1, 3)]:
        n, total = 1000, 0.0
        for k in range(n + 1):
            p = 0.5 + 0.5 * k / n
            weight = 1 if k in (0, n) else 4 if k % 2 else 2
            total += weight * p**first * (1 - p) ** second
        density = math.gamma(first + second + 2) / math.gamma(first + 1) / math.gamma(second + 1)
        assert lead_probability(first, second) == pytest.approx(total / 6 / n * density, abs=1e-9)


@given(
    answers=st.lists(st.sampled_from(["a", "a", "a", "b", "c", None]), min_size=60, max_size=60),
    samples=st.integers(1, 60),
    threshold=st.sampled_from([0.6, 0.9, 0.95, 0.99]),
)
def test_adaptive_consistency_stops_where_one_by_one_would(
    answers: list[str | None], samples: int, threshold: float
) -> None:
    grown = tree()
    given_out = iter(answers)
    search = adaptive_consistency(
        grown, samples=samples, params=PARAMS, threshold=threshold,
        answer_of=lambda tokens: next(given_out),
    )  # fmt: skip
    step_through(search)
    votes: Counter[str] = Counter()
    expected = 0
    for answer in answers[:samples]:
        expected += 1
        votes.update([answer] if answer else [])
        first, second, *_ = (*(count for _, count in votes.most_common(2)), 0, 0)
        if lead_probability(first, second) >= threshold:
            break
    assert len(grown.nodes) - 1 == expected


def test_an_attempt_that_came_to_no_end_has_no_vote() -> None:
    read: list[tuple[int, ...]] = []

    def answer_of(tokens: tuple[int, ...]) -> str:
        read.append(tokens)
        return "same"

    grown = tree()
    search = adaptive_consistency(grown, samples=30, params=PARAMS, answer_of=answer_of)
    step_through(search, ("eos", "length"))
    assert len(read) == 4
    assert all(grown.nodes[i].terminal for i in range(1, len(grown.nodes), 2))


@pytest.mark.parametrize("threshold", [0.0, 1.0, 1.5, -1.0, math.nan])
def test_a_threshold_that_no_vote_or_every_vote_reaches_is_refused(threshold: float) -> None:
    with pytest.raises(UserError, match="adaptive_consistency: threshold is"):
        adaptive_consistency(tree(), samples=3, params=PARAMS, answer_of=str, threshold=threshold)


def test_meta_asks_a_critic_that_sees_what_was_tried() -> None:
    """Three attempts of two tokens, cut into steps of one; the frontier holds each prefix once."""
    grown = tree()
    asked = step_through(
        meta(grown, samples=3, params=PARAMS, cut=lambda tokens: [(token,) for token in tokens]),
        value=lambda prefix: 0.5,
    )
    scores = [request for request in asked if isinstance(request, ScoreRequest)]
    attempts = [grown.completion(leaf) for leaf in grown.leaves()]
    assert [request.tried for request in scores] == [
        tuple(attempts[:count]) for count in (0, 0, 1, 1, 2, 2)
    ]
    firsts = [attempt[:1] for attempt in attempts]
    assert [request.prefixes for request in scores[::2]] == [
        tuple((7, 8, *first) for first in [(), *firsts[:count]]) for count in range(3)
    ]
    assert [request.prefixes for request in scores[1::2]] == [
        ((7, 8, *attempt),) for attempt in attempts
    ]
    draws = [request for request in asked if isinstance(request, SampleRequest)]
    assert [request.prefixes for request in draws] == [((7, 8),)] * 3  # ties to the oldest: root


def test_meta_goes_on_from_a_step_within_what_an_attempt_may_have() -> None:
    grown = tree()
    asked = step_through(
        meta(grown, samples=3, params=PARAMS, cut=lambda tokens: [(token,) for token in tokens]),
        value=lambda prefix: 0.1 * len(prefix),
    )
    draws = [request for request in asked if isinstance(request, SampleRequest)]
    assert [len(request.prefixes[0]) for request in draws] == [2, 3, 4]
    assert [request.params.max_tokens for request in draws] == [8, 7, 6]
    assert [node.depth for node in grown.nodes] == [0, 1, 2, 2, 3, 3, 4]


@pytest.mark.parametrize("wrong", [lambda tokens: [tokens[:1]], lambda tokens: [tokens, ()]])
def test_meta_refuses_steps_that_do_not_join_to_the_attempt(wrong: Any) -> None:
    with pytest.raises(ValueError, match="cut has to return steps"):
        step_through(meta(tree(), samples=2, params=PARAMS, cut=wrong), value=lambda prefix: 0.5)
