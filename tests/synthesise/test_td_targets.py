"""TD(lambda) over trees: a golden tree by hand, the two ends of lambda, laws of expectiles."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import UserError
from system2.synthesise.td_targets import expectile, td_returns, td_targets

unit = st.floats(0, 1, width=32)

# 0 ── 1 ── 3 right      and a leaf 5 where nothing ended
#   │    └─ 4 wrong
#   └─ 2 ── 5 (value 0.6)
PARENTS = [None, 0, 0, 1, 1, 2]
REWARDS = [None, None, None, 1.0, 0.0, None]
VALUES = [0.3, 0.8, 0.4, None, None, 0.6]


def test_a_golden_tree_at_lambda_one_is_the_mean_of_what_ended() -> None:
    targets = td_targets(PARENTS, REWARDS, VALUES, lam=1.0)
    # nothing ended under 2, which therefore does not count for 0
    assert targets == [0.5, 0.5, None, 1.0, 0.0, None]


def test_a_golden_tree_at_lambda_zero_bootstraps_from_the_children() -> None:
    targets = td_targets(PARENTS, REWARDS, VALUES, lam=0.0)
    assert targets == pytest.approx([(0.8 + 0.4) / 2, 0.5, 0.6, 1.0, 0.0, None], abs=1e-12)


def test_a_golden_tree_in_between() -> None:
    targets = td_targets(PARENTS, REWARDS, VALUES, lam=0.25)
    worth_1 = 0.75 * 0.8 + 0.25 * 0.5
    worth_2 = 0.75 * 0.4 + 0.25 * 0.6  # 5 has no target, and is worth its value
    assert targets == pytest.approx([(worth_1 + worth_2) / 2, 0.5, 0.6, 1.0, 0.0, None], abs=1e-12)
    returns = td_returns(PARENTS, REWARDS, VALUES, lam=0.25)
    assert returns[1:] == pytest.approx([worth_1, worth_2, 1.0, 0.0, 0.6], abs=1e-12)


def test_the_best_child_and_how_often_each_was_drawn() -> None:
    assert td_targets(PARENTS, REWARDS, VALUES, lam=1.0, tau=1.0)[:2] == [1.0, 1.0]
    assert td_targets(PARENTS, REWARDS, VALUES, lam=1.0, tau=0.0)[:2] == [0.0, 0.0]
    weights = [1.0, 1.0, 1.0, 1.0, 3.0, 1.0]
    assert td_targets(PARENTS, REWARDS, VALUES, lam=1.0, weights=weights)[1] == 0.25


@given(
    values=st.lists(unit, min_size=1, max_size=8),
    reward=st.sampled_from([0.0, 1.0]),
    lam=unit,
)
def test_on_a_chain_it_is_the_lambda_return(values: list[float], reward: float, lam: float) -> None:
    """Against the sum over n-step returns: (1 - lam) sum lam^(n-1) V + lam^(T-1) R."""
    num = len(values)
    parents = [None, *range(num)]
    targets = td_targets(parents, [*[None] * num, reward], [*values, None], lam=lam)
    for t in range(num):
        after = values[t + 1 :]
        expected = sum((1 - lam) * lam**n * v for n, v in enumerate(after))
        expected += lam ** len(after) * reward
        assert targets[t] == pytest.approx(expected, abs=1e-6)


@given(seed=st.integers(0, 10**6), tau=unit)
def test_targets_lie_between_what_they_are_made_of(seed: int, tau: float) -> None:
    rng = random.Random(seed)
    num = rng.randrange(1, 20)
    parents = [None, *(rng.randrange(i) for i in range(1, num))]
    inner = set(parents)
    rewards = [rng.choice([None, 0.0, 1.0]) if i not in inner else None for i in range(num)]
    values = [rng.choice([None, rng.random()]) for _ in range(num)]
    for target in td_targets(parents, rewards, values, lam=rng.random(), tau=tau):
        assert target is None or 0 <= target <= 1
    ended = [reward for reward in rewards if reward is not None]
    root = td_targets(parents, rewards, values, lam=1.0)[0]
    assert (root is None) == (not ended)


@given(
    drawn=st.lists(st.tuples(unit, st.floats(0.1, 5)), min_size=1, max_size=8),
    tau=st.floats(0.01, 0.99),
)
def test_an_expectile_balances_what_lies_above_and_below(
    drawn: list[tuple[float, float]], tau: float
) -> None:
    values, weights = [v for v, _ in drawn], [w for _, w in drawn]
    found = expectile(values, weights, tau)
    above = sum(w * (v - found) for v, w in drawn if v > found)
    below = sum(w * (found - v) for v, w in drawn if v <= found)
    assert tau * above == pytest.approx((1 - tau) * below, abs=1e-6)
    assert min(values) <= found <= max(values)
    shuffled = random.Random(0).sample(drawn, len(drawn))
    assert found == pytest.approx(
        expectile([v for v, _ in shuffled], [w for _, w in shuffled], tau), abs=1e-12
    )
    assert expectile(values, weights, 0.5) == pytest.approx(
        math.fsum(v * w for v, w in drawn) / math.fsum(weights)
    )


@given(values=st.lists(unit, min_size=1, max_size=6), one=unit, other=unit)
def test_an_expectile_rises_from_the_least_to_the_greatest(
    values: list[float], one: float, other: float
) -> None:
    weights = [1.0] * len(values)
    low, high = sorted((one, other))
    assert expectile(values, weights, low) <= expectile(values, weights, high) + 1e-9
    assert expectile(values, weights, 0.0) == min(values)
    assert expectile(values, weights, 1.0) == max(values)


@pytest.mark.parametrize("lam", [-0.1, 1.1, math.nan])
def test_a_lambda_out_of_range_is_refused(lam: float) -> None:
    with pytest.raises(UserError, match="lambda is"):
        td_targets(PARENTS, REWARDS, VALUES, lam=lam)
    with pytest.raises(UserError, match="expectile is"):
        td_targets(PARENTS, REWARDS, VALUES, lam=1.0, tau=lam)


def test_what_is_no_tree_is_refused() -> None:
    with pytest.raises(ValueError, match="does not come before"):
        td_targets([None, 2, 0], [None] * 3, [None] * 3, lam=1.0)
    with pytest.raises(ValueError, match="differ in length"):
        td_targets([None], [None] * 2, [None], lam=1.0)
    with pytest.raises(ValueError, match="no expectile"):
        expectile([], [], 0.5)
