"""The searches over steps, stepped by hand, against their definitions."""

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
from system2.search.astar import astar, total_cost
from system2.search.beam import beam
from system2.search.best_first import best_first
from system2.search.dfs import dfs
from system2.search.diverse_beam import diverse_beam
from system2.search.lookahead import lookahead
from system2.search.mcts import EXPLORATION, PUCT_BASE, Facts, mcts, puct, uct
from system2.search.particle import particle, resample, resampling_weights
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


def cost_of(prefix: Tokens) -> float:
    """Return the cost of a prefix in nats, as `drawn` makes it."""
    return math.fsum(0.1 * (token + 1) for token in prefix[1:])


@given(
    iterations=st.integers(1, 30) | st.none(),
    choices=st.integers(1, 4),
    weight=st.sampled_from([0.0, 0.3, 1.0, 5.0]),
    **dials,
)
def test_astar_expands_the_least_cost_plus_heuristic(
    iterations: int | None, choices: int, weight: float, branch: int, max_depth: int, key: int
) -> None:
    value = hashed(key, 997)  # few ties; zeros among them
    search = astar(
        tree(), branch=branch, max_depth=max_depth, params=PARAMS, weight=weight,
        iterations=iterations,
    )  # fmt: skip
    asked = step_through(search, value, choices=choices, ends=ends_some)
    open_, expected = [PROMPT], list[tuple[Tokens, ...]]()
    made = {PROMPT: 0}

    def rank(prefix: Tokens) -> tuple[float, int]:
        if prefix == PROMPT:
            return 0.0, 0
        f = total_cost(cost_of(prefix), value(prefix), weight)
        return round(f, 9), made[prefix]

    while open_ and (iterations is None or len(expected) < iterations):
        chosen = min(open_, key=rank)
        open_.remove(chosen)
        if chosen != PROMPT and ends_some(chosen):
            break
        expected.append((chosen,))
        for token in range(min(branch, choices)):
            child = (*chosen, token)
            made[child] = len(made)
            if ends_some(child) or len(child) - len(PROMPT) < max_depth:
                open_.append(child)
    assert asked == expected


@given(**dials)
def test_astar_by_cost_alone_ends_with_the_cheapest_attempt(
    branch: int, max_depth: int, key: int
) -> None:
    """No attempt that brute force finds is cheaper than the cheapest that was found."""
    grown = tree()
    search = astar(grown, branch=branch, max_depth=max_depth, params=PARAMS, weight=0.0)
    step_through(search, hashed(key), ends=ends_some)
    attempts, open_ = list[float](), [PROMPT]
    while open_:
        prefix = open_.pop()
        for child in ((*prefix, token) for token in range(branch)):
            if ends_some(child):
                attempts.append(cost_of(child))
            elif len(child) - len(PROMPT) < max_depth:
                open_.append(child)
    found = [cost_of(grown.prefix(i)) for i, node in enumerate(grown.nodes) if node.terminal]
    assert min(found, default=None) == min(attempts, default=None)


def test_astar_states_its_convention_in_figures() -> None:
    """By hand: f of a step drawn with p = 1/8 and valued 1/2, at weights 0, 1, 2."""
    g = math.log(8)
    assert [total_cost(g, 0.5, weight) for weight in (0, 1, 2)] == pytest.approx(
        [math.log(8), math.log(16), math.log(32)]
    )
    assert total_cost(g, 0.0, 1.0) == math.inf
    assert total_cost(g, 0.0, 0.0) == g


def test_astar_goes_on_after_an_attempt_that_is_not_accepted() -> None:
    def value(prefix: Tokens) -> float:
        return 0.9 if prefix[1:] == (0,) else 0.5

    def ends(prefix: Tokens) -> bool:
        return prefix[1:] == (0,)

    asked: list[int] = []
    for accept in (None, 0.95):
        search = astar(tree(), branch=2, max_depth=3, params=PARAMS, accept=accept)
        asked.append(len(step_through(search, value, ends=ends)))
    assert asked == [1, 4]  # the first ends with (0), whose turn is next; the second sees all


@given(
    iterations=st.integers(1, 30) | st.none(),
    choices=st.integers(1, 4),
    prune=st.sampled_from([0.0, 0.25, 0.6, 1.0]),
    **dials,
)
def test_dfs_goes_down_the_best_and_backtracks(
    iterations: int | None, choices: int, prune: float, branch: int, max_depth: int, key: int
) -> None:
    value = hashed(key)
    search = dfs(
        tree(), branch=branch, max_depth=max_depth, params=PARAMS, prune=prune,
        iterations=iterations,
    )  # fmt: skip
    asked = step_through(search, value, choices=choices, ends=ends_some)
    expected: list[tuple[Tokens, ...]] = []

    def visit(prefix: Tokens) -> None:
        expected.append((prefix,))
        made = [(*prefix, token) for token in range(min(branch, choices))]
        for child in by_value(made, value):
            is_open = not ends_some(child) and len(child) - len(PROMPT) < max_depth
            if is_open and value(child) >= prune:
                visit(child)

    visit(PROMPT)
    assert asked == expected[:iterations]
    assert all(prefix == PROMPT or value(prefix) >= prune for (prefix,) in asked)


@given(width=st.integers(1, 4), choices=st.integers(1, 4), **dials)
def test_diverse_beam_grows_each_subtree_by_its_best(
    width: int, choices: int, branch: int, max_depth: int, key: int
) -> None:
    value = hashed(key)
    search = diverse_beam(tree(), width=width, branch=branch, max_depth=max_depth, params=PARAMS)
    asked = step_through(search, value, choices=choices, ends=ends_some)
    made = [(*PROMPT, token) for token in range(min(branch, choices))]
    expected, frontier = [(PROMPT,) * width], by_value(made, value)[:width]
    while len(expected) < max_depth:
        frontier = [prefix for prefix in frontier if not ends_some(prefix)]
        if not frontier:
            break
        expected.append(tuple(frontier))
        frontier = [
            by_value([(*prefix, token) for token in range(min(branch, choices))], value)[0]
            for prefix in frontier
        ]
    assert asked == expected


@given(choices=st.integers(1, 4), width=st.integers(1, 4), **dials)
def test_a_beam_by_two_other_names(
    choices: int, width: int, branch: int, max_depth: int, key: int
) -> None:
    """One subtree is a beam of width 1; to look ahead no step is not to look ahead."""
    same = {"branch": branch, "max_depth": max_depth, "params": PARAMS}
    trees: list[Any] = []
    for search, more in (
        (diverse_beam, {"width": 1}), (beam, {"width": 1}),
        (lookahead, {"width": width, "lookahead": 0}), (beam, {"width": width}),
    ):  # fmt: skip
        grown = tree()
        step_through(search(grown, **same, **more), hashed(key), choices=choices, ends=ends_some)  # pyright: ignore
        trees.append(list(grown.nodes))
    assert trees[0] == trees[1]
    assert trees[2] == trees[3]


@given(width=st.integers(1, 3), choices=st.integers(2, 4), ahead=st.integers(0, 3), **dials)
def test_lookahead_is_a_beam_over_where_greedy_steps_lead(
    width: int, choices: int, ahead: int, branch: int, max_depth: int, key: int
) -> None:
    value, grown = hashed(key), tree()
    search = lookahead(
        grown, width=width, branch=branch, max_depth=max_depth, params=PARAMS, lookahead=ahead
    )
    asked = step_through(search, value, choices=choices, ends=ends_some)

    def led_to(prefix: Tokens) -> Tokens:
        for _ in range(ahead):
            if ends_some(prefix) or len(prefix) - len(PROMPT) >= max_depth:
                break
            prefix = (*prefix, 0)
        return prefix

    frontier, expected = [PROMPT], list[tuple[Tokens, ...]]()
    for _ in range(max_depth):
        expected.append(tuple(frontier))
        made = [(*prefix, token) for prefix in frontier for token in range(min(branch, choices))]
        best = sorted(made, key=lambda prefix: value(led_to(prefix)), reverse=True)[:width]
        frontier = [prefix for prefix in best if not ends_some(prefix)]
        if not frontier:
            break
    # Between the beam's requests are those of the steps ahead; the beam's are a subsequence.
    left = iter(asked)
    assert all(wanted in left for wanted in expected)
    assert max(node.depth for node in grown.nodes) <= max_depth


@given(
    weights=st.lists(st.floats(0, 1), min_size=1, max_size=9).filter(lambda w: sum(w) > 0.01),
    count=st.integers(1, 12),
    start=st.floats(0, 1, exclude_max=True),
)
def test_resampling_copies_by_weight(weights: list[float], count: int, start: float) -> None:
    shares = [weight / sum(weights) for weight in weights]
    chosen = resample(shares, count, start)
    assert len(chosen) == count
    for i, share in enumerate(shares):
        assert abs(chosen.count(i) - count * share) < 1 + 1e-6


def test_weights_of_particles_are_odds() -> None:
    """By hand: odds 1, 3 and 9; at half the temperature their squares; certain ones are finite."""
    values = [0.5, 0.75, 0.9]
    assert resampling_weights(values, 1.0) == pytest.approx([1 / 13, 3 / 13, 9 / 13])
    assert resampling_weights(values, 0.5) == pytest.approx([1 / 91, 9 / 91, 81 / 91])
    assert resampling_weights([0.0, 0.0, 1.0], 1.0) == pytest.approx([0, 0, 1], abs=1e-9)
    assert resampling_weights([0.0, 0.0], 0.001) == [0.5, 0.5]


def test_particles_survive_as_often_as_their_odds_say() -> None:
    """One of four prefixes has odds of 1 against 9, 9, 9: 4/28 copies on the mean."""
    copies: list[int] = []
    for seed in range(400):
        grown = Tree(Problem("p", "?", "", "sums"), seed, PROMPT)
        steps = particle(grown, width=4, max_depth=2, params=PARAMS)
        request = next(steps)
        assert isinstance(request, SampleRequest)
        assert (request.prefixes, request.n) == ((PROMPT,) * 4, 1)
        answer = [[Completion((p,), (-1.0,), "length")] for p in range(4)]
        scored = steps.send(answer)
        assert isinstance(scored, ScoreRequest)
        again = steps.send([0.5, 0.9, 0.9, 0.9])
        assert isinstance(again, SampleRequest)
        copies.append(again.prefixes.count((*PROMPT, 0)))
    assert set(copies) == {0, 1}
    assert 35 < sum(copies) < 82  # 57 expected, with a deviation of 7


def test_finished_particles_stay_and_the_others_share_what_is_left() -> None:
    grown = tree()
    steps = particle(grown, width=4, max_depth=3, params=PARAMS)
    _ = next(steps)
    ends: list[FinishReason] = ["eos", "length", "length", "length"]
    _ = steps.send([[Completion((p,), (-1.0,), ends[p])] for p in range(4)])
    request = steps.send([1.0, 0.5, 0.5, 0.0])
    assert isinstance(request, SampleRequest)
    assert len(request.prefixes) == 3
    assert set(request.prefixes) == {(7, 1), (7, 2)}


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
    grown, facts = tree(), dict[int, Facts]()
    search = mcts(
        grown, branch=2, max_depth=3, iterations=5, params=PARAMS, formula="uct",
        exploration=1.0, facts=facts,
    )  # fmt: skip
    asked = step_through(search, value_in_table)
    assert asked == [((7,),), ((7, 0),), ((7, 1),), ((7, 0, 1),), ((7, 1, 0),)]
    found = {grown.completion(i): node.value for i, node in enumerate(grown.nodes)}
    assert found[()] == pytest.approx((0.5 + 0.6 + 0.4 + 0.3 + 0.9) / 5)
    assert found[(0,)] == pytest.approx((0.6 + 0.3) / 2)
    assert found[(1,)] == pytest.approx((0.4 + 0.9) / 2)
    assert (found[(0, 0)], found[(0, 1)], found[(1, 0)]) == (0.2, 0.3, 0.9)
    visits = {grown.completion(at): known.visits for at, known in facts.items()}
    never = dict.fromkeys([(0, 0), (1, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1)], 0)
    assert visits == {(): 5, (0,): 2, (1,): 2, (0, 1): 1, (1, 0): 1, **never}
    at = {grown.completion(node): node for node in range(len(grown.nodes))}
    upper = {
        path: uct(facts[at[path]].mean, facts[at[path]].visits, facts[at[path[:-1]]].visits, 1.0)
        for path in ((0,), (1,), (0, 1), (1, 0), (1, 1))
    }
    assert upper == pytest.approx(
        {(0,): 0.45 + 0.8970610, (1,): 0.65 + 0.8970610, (0, 1): 0.3 + 0.8325546,
         (1, 0): 0.9 + 0.8325546, (1, 1): math.inf}
    )  # fmt: skip


def test_mcts_by_puct_over_a_golden_tree() -> None:
    """Worked by hand with exploration 1; likelihoods exp(-0.1), exp(-0.2): priors 0.525, 0.475.

    2: (0): 0.6 + 0.525 = 1.125 beats (1): 0.4 + 0.475. 3: (0): 0.6 + 0.525 * sqrt(2) / 2 = 0.971;
    (1): 0.4 + 0.475 * sqrt(2) = 1.072. 4: (0): 0.6 + 0.525 * sqrt(3) / 2 = 1.055 beats (1): 0.4 +
    0.475 * sqrt(3) / 2 = 0.811; there (0, 1): 0.3 + 0.475 beats (0, 0): 0.2 + 0.525.
    """
    grown, facts = tree(), dict[int, Facts]()
    search = mcts(
        grown, branch=2, max_depth=3, iterations=4, params=PARAMS, formula="puct",
        exploration=1.0, facts=facts,
    )  # fmt: skip
    assert step_through(search, value_in_table) == [((7,),), ((7, 0),), ((7, 1),), ((7, 0, 1),)]
    known = {grown.completion(at): one for at, one in facts.items()}
    assert {path: one.visits for path, one in known.items()} == {
        (): 4, (0,): 2, (1,): 1, (0, 0): 0, (0, 1): 1, (1, 0): 0, (1, 1): 0, (0, 1, 0): 0,
        (0, 1, 1): 0}  # fmt: skip
    assert [known[path].mean for path in ((), (0,), (1,))] == pytest.approx([0.45, 0.45, 0.4])
    assert [known[path].prior for path in ((0,), (1,))] == pytest.approx([0.5249792, 0.4750208])
    scores = {
        path: puct(known[path].mean, known[path].visits, 4, known[path].prior, 1.0)
        for path in ((0,), (1,))
    }
    # rate 1 + log(19657 / 19652) = 1.0002544; times prior, times sqrt(4), over 1 + visits
    assert scores == pytest.approx({(0,): 0.45 + 0.3500751, (1,): 0.4 + 0.4751416})


@pytest.mark.parametrize("formula", ["uct", "puct"])
@given(iterations=st.integers(1, 25), choices=st.integers(1, 4), **dials)
def test_mcts_visits_what_its_history_says(
    formula: Any, iterations: int, choices: int, branch: int, max_depth: int, key: int
) -> None:
    """A second MCTS keeps only the list of visits, and counts anew at each step."""
    value, grown, facts = hashed(key, 997), tree(), dict[int, Facts]()
    search = mcts(
        grown,
        branch=branch,
        max_depth=max_depth,
        iterations=iterations,
        params=PARAMS,
        formula=formula,
        facts=facts,
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
    for at, known in facts.items():
        assert known.visits == len(below(grown.prefix(at)))


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
