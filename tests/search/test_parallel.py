"""The searches that draw whole attempts, stepped by hand."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from system2.core import (
    Completion,
    FinishReason,
    Problem,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    Steps,
    derive_seed,
)
from system2.search import SEARCHES
from system2.search.moves import evaluate, expand
from system2.search.parallel import best_of_n, greedy, sample
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
