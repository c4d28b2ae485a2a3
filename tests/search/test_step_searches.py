"""Beam, best-first and Monte-Carlo tree search, stepped by hand, against their definitions."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from system2.core import (
    Completion,
    FinishReason,
    Problem,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    Steps,
    Tokens,
    derive_seed,
)
from system2.search.beam import beam
from system2.search.best_first import best_first
from system2.search.mcts import EXPLORATION, PUCT_BASE, mcts, puct, uct
from system2.tree import ROOT, Tree

PARAMS = SamplingParams(max_tokens=1)
PROMPT = (7,)
Value = Callable[[Tokens], float]


def tree() -> Tree:
    return Tree(Problem("p", "?", "", "sums"), 3, PROMPT)


def hashed(key: int, levels: int = 4) -> Value:
    """Values of few levels, so that there are ties."""
    return lambda prefix: derive_seed(key, prefix) % levels / levels


def step_through(
    steps: Steps[None],
    value: Value,
    *,
    choices: int = 100,
    ends: Callable[[Tokens], bool] = lambda prefix: False,
) -> list[tuple[Tokens, ...]]:
    """Answer a search, draw i being token i modulo `choices`; return the prefixes it expanded."""
    expanded: list[tuple[Tokens, ...]] = []
    try:
        request = next(steps)
        while True:
            if isinstance(request, ScoreRequest):
                request = steps.send([value(prefix) for prefix in request.prefixes])
                continue
            expanded.append(request.prefixes)
            request = steps.send(
                [[drawn(prefix, request, i % choices, ends) for i in range(request.n)]
                 for prefix in request.prefixes]
            )  # fmt: skip
    except StopIteration:
        return expanded


def drawn(
    prefix: Tokens, request: SampleRequest, token: int, ends: Callable[[Tokens], bool]
) -> Completion:
    tokens: Tokens = ()
    reason: FinishReason = "length"
    while len(tokens) < request.params.max_tokens and reason == "length":
        tokens += (token,)
        reason = "eos" if ends((*prefix, *tokens)) else "length"
    return Completion(tokens, tuple(-0.1 * (token + 1) for _ in tokens), reason)


def by_value(prefixes: list[Tokens], value: Value) -> list[Tokens]:
    """Best first; ties in the order that they are in."""
    return sorted(prefixes, key=value, reverse=True)


def ends_some(prefix: Tokens) -> bool:
    return derive_seed("end", prefix) % 4 == 0


dials = {"branch": st.integers(1, 4), "max_depth": st.integers(1, 4), "key": st.integers(0, 10**6)}


@given(width=st.integers(1, 4), choices=st.integers(1, 4), **dials)
def test_beam_goes_on_from_the_best_of_all_that_a_step_made(
    width: int, choices: int, branch: int, max_depth: int, key: int
) -> None:
    value = hashed(key)
    search = beam(tree(), width=width, branch=branch, max_depth=max_depth, params=PARAMS)
    asked = step_through(search, value, choices=choices, ends=ends_some)
    frontier, expected = [PROMPT], list[tuple[Tokens, ...]]()
    while frontier and len(expected) < max_depth:
        expected.append(tuple(frontier))
        made = [(*prefix, token) for prefix in frontier for token in range(min(branch, choices))]
        frontier = [prefix for prefix in by_value(made, value)[:width] if not ends_some(prefix)]
    assert asked == expected


@given(**dials)
def test_a_beam_that_holds_all_finds_the_best_of_all(branch: int, max_depth: int, key: int) -> None:
    value, grown = hashed(key, 10**6), tree()
    width = branch**max_depth
    step_through(beam(grown, width=width, branch=branch, max_depth=max_depth, params=PARAMS), value)
    assert len(grown.nodes) == sum(branch**depth for depth in range(max_depth + 1))
    leaves = [node.value for node in grown.nodes if node.depth == max_depth]
    assert len(leaves) == branch**max_depth


@given(iterations=st.integers(1, 30) | st.none(), choices=st.integers(1, 4), **dials)
def test_best_first_expands_the_best_that_is_open(
    iterations: int | None, choices: int, branch: int, max_depth: int, key: int
) -> None:
    value = hashed(key)
    search = best_first(
        tree(), branch=branch, max_depth=max_depth, params=PARAMS, iterations=iterations
    )
    asked = step_through(search, value, choices=choices, ends=ends_some)
    open_, expected = [PROMPT], list[tuple[Tokens, ...]]()
    while open_ and (iterations is None or len(expected) < iterations):
        chosen = by_value(open_, value)[0]
        open_.remove(chosen)
        expected.append((chosen,))
        made = [(*chosen, token) for token in range(min(branch, choices))]
        open_ += [p for p in made if not ends_some(p) and len(p) - len(PROMPT) < max_depth]
    assert asked == expected


def test_uct_and_puct_are_the_formulas() -> None:
    """By hand: the printed UCT has its counts exchanged, and would give 0.5 + sqrt(log(4) / 16)."""
    assert uct(0.5, 4, 16, 1.0) == pytest.approx(0.5 + 0.832554611)
    assert uct(0.9, 0, 3, 1.0) == math.inf
    assert puct(0.5, 3, 16, 0.25, 1.25) == pytest.approx(0.5 + 1.250864621 * 0.25 * 4 / 4)
    assert puct(0.5, 0, 1, 1.0, 0.0) == pytest.approx(0.5 + math.log(1 + 2 / PUCT_BASE))


VALUES: dict[Tokens, float] = {
    (): 0.5, (0,): 0.6, (1,): 0.4, (0, 0): 0.2, (0, 1): 0.3, (1, 0): 0.9, (1, 1): 0.1,
    (1, 0, 0): 0.8, (1, 0, 1): 0.7,
}  # fmt: skip


def value_in_table(prefix: Tokens) -> float:
    """Return the golden tree's value of a prefix, 0 where it has none."""
    return VALUES.get(prefix[1:], 0.0)


def test_mcts_by_uct_over_a_golden_tree() -> None:
    """Worked by hand with exploration 1.

    1: the root is visited. 2: both its children are new, (0) has the higher value: 0.6. 3: UCT is
    infinite for (1): 0.4. 4: (0): 0.6 + sqrt(log(3) / 1) = 1.648 beats (1): 1.448; of its
    children (0, 1) comes first: 0.3. 5: (0): 0.45 + sqrt(log(4) / 2) = 1.283; (1): 0.4 +
    sqrt(log(4)) = 1.577; then (1, 0): 0.9.
    """
    grown = tree()
    search = mcts(
        grown, branch=2, max_depth=3, iterations=5, params=PARAMS, formula="uct", exploration=1.0
    )
    asked = step_through(search, value_in_table)
    assert asked == [((7,),), ((7, 0),), ((7, 1),), ((7, 0, 1),), ((7, 1, 0),)]
    found = {grown.completion(i): node.value for i, node in enumerate(grown.nodes)}
    assert found[()] == pytest.approx((0.5 + 0.6 + 0.4 + 0.3 + 0.9) / 5)
    assert found[(0,)] == pytest.approx((0.6 + 0.3) / 2)
    assert found[(1,)] == pytest.approx((0.4 + 0.9) / 2)
    assert (found[(0, 0)], found[(0, 1)], found[(1, 0)]) == (0.2, 0.3, 0.9)


def test_mcts_by_puct_over_a_golden_tree() -> None:
    """Worked by hand with exploration 1; likelihoods exp(-0.1), exp(-0.2): priors 0.525, 0.475.

    2: (0): 0.6 + 0.525 = 1.125 beats (1): 0.4 + 0.475. 3: (0): 0.6 + 0.525 * sqrt(2) / 2 = 0.971;
    (1): 0.4 + 0.475 * sqrt(2) = 1.072. 4: (0): 0.6 + 0.525 * sqrt(3) / 2 = 1.055 beats (1): 0.4 +
    0.475 * sqrt(3) / 2 = 0.811; there (0, 1): 0.3 + 0.475 beats (0, 0): 0.2 + 0.525.
    """
    grown = tree()
    search = mcts(
        grown, branch=2, max_depth=3, iterations=4, params=PARAMS, formula="puct", exploration=1.0
    )
    assert step_through(search, value_in_table) == [((7,),), ((7, 0),), ((7, 1),), ((7, 0, 1),)]


@pytest.mark.parametrize("formula", ["uct", "puct"])
@given(iterations=st.integers(1, 25), choices=st.integers(1, 4), **dials)
def test_mcts_visits_what_its_history_says(
    formula: Any, iterations: int, choices: int, branch: int, max_depth: int, key: int
) -> None:
    """A second MCTS keeps only the list of visits, and counts anew at each step."""
    value, grown = hashed(key, 997), tree()
    search = mcts(
        grown,
        branch=branch,
        max_depth=max_depth,
        iterations=iterations,
        params=PARAMS,
        formula=formula,
    )
    asked = step_through(search, value, choices=choices, ends=ends_some)
    visited: list[Tokens] = []
    expanded: list[Tokens] = []
    tokens = range(min(branch, choices))
    total = sum(math.exp(-0.1 * (token + 1)) for token in tokens)

    def below(prefix: Tokens) -> list[float]:
        return [value(leaf) for leaf in visited if leaf[: len(prefix)] == prefix]

    def mean(prefix: Tokens) -> float:
        values = below(prefix) or [value(prefix)]
        return sum(values) / len(values)

    def rank(prefix: Tokens) -> tuple[float, float]:
        visits, above, weight = len(below(prefix)), len(below(prefix[:-1])), EXPLORATION[formula]
        if formula == "uct":
            return round(uct(mean(prefix), visits, above, weight), 9), round(mean(prefix), 9)
        prior = math.exp(-0.1 * (prefix[-1] + 1)) / total
        return round(puct(mean(prefix), visits, above, prior, weight), 9), round(mean(prefix), 9)

    for _ in range(iterations):
        leaf = PROMPT
        while leaf in expanded:
            ranks = {(*leaf, token): rank((*leaf, token)) for token in tokens}
            first = [p for p, r in ranks.items() if r == max(ranks.values())]
            assume(len(first) == 1 or not any(map(below, first)))  # sums may differ in rounding
            leaf = first[0]
        is_end = leaf != PROMPT and ends_some(leaf)
        if not is_end and len(leaf) - len(PROMPT) < max_depth and leaf not in expanded:
            expanded.append(leaf)
        visited.append(leaf)
    assert asked == [(prefix,) for prefix in expanded]
    first_of = {grown.prefix(i): node for i, node in reversed(list(enumerate(grown.nodes)))}
    for prefix, node in first_of.items():
        assert node.value == pytest.approx(mean(prefix))


def test_mcts_by_rollouts_values_a_node_by_where_attempts_from_it_end() -> None:
    grown = tree()
    search = mcts(
        grown, branch=2, max_depth=2, iterations=1, params=PARAMS, rollouts=2, rollout_tokens=3
    )
    # Token 0 goes on to the third token and ends there; token 1 comes to no end.
    asked = step_through(
        search, lambda prefix: 0.8, ends=lambda prefix: prefix[-1] == 0 and len(prefix) >= 4
    )
    assert asked == [((7,),), ((7,),), ((7, 0), (7, 1))]
    found = {grown.completion(i): node for i, node in enumerate(grown.nodes)}
    assert found[(0, 0, 0)].terminal
    assert not found[(1, 1, 1)].terminal
    assert found[()].value == pytest.approx(0.4)
    assert found[(0,)].value == pytest.approx(0.4)
    assert found[(1, 1, 1)].value is None


def test_what_the_budget_closes_has_its_means_written() -> None:
    grown, value = tree(), hashed(5, 1000)
    search = mcts(grown, branch=3, max_depth=9, iterations=50, params=PARAMS)
    request = next(search)
    for _ in range(12):
        if isinstance(request, ScoreRequest):
            request = search.send([value(prefix) for prefix in request.prefixes])
        else:
            request = search.send(
                [[drawn(p, request, i, ends_some) for i in range(3)] for p in request.prefixes]
            )
    search.close()
    own = value(PROMPT)
    assert grown.nodes[ROOT].value is not None
    assert grown.nodes[ROOT].value != own
    assert all(node.value is not None for node in grown.nodes[:10])
