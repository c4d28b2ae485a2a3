"""Estimates against published values, enumeration and simulation."""

import doctest
import math
import time
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import UserError
from system2.evaluate import metrics
from system2.evaluate.metrics import (
    accuracy,
    cost_an_answer,
    mcnemar_p,
    mean_with_interval,
    paired_difference,
    problem_means,
    wilson_interval,
)

GRADES = st.lists(st.sampled_from([True, False, None]), max_size=30)


def test_doctests():
    assert doctest.testmod(metrics).failed == 0


@pytest.mark.parametrize(
    ("right", "judged", "low", "high"),
    [
        # Newcombe 1998 (Statistics in Medicine 17, 857-872), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_the_published_one(right, judged, low, high):
    assert wilson_interval(right, judged) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_solves_its_own_equation(case):
    """Its ends are the proportions that lie 1.96 standard errors, their own, from the share."""
    right, judged = case
    share = right / judged
    for end in wilson_interval(right, judged):
        assert 0 <= end <= 1
        gap = (share - end) ** 2
        assert gap == pytest.approx(1.959964**2 * end * (1 - end) / judged, abs=1e-6)


@pytest.mark.parametrize(("right", "judged"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_interval_refuses_what_is_no_proportion(right, judged):
    with pytest.raises(UserError, match="not a proportion"):
        wilson_interval(right, judged)


@given(GRADES, st.integers(0, 5))
def test_unjudged_grades_change_no_accuracy(grades, more):
    figure = accuracy(grades)
    padded = accuracy([*grades, *[None] * more])
    assert (padded.value, padded.low, padded.high) == (figure.value, figure.low, figure.high)
    assert padded.num_unjudged == figure.num_unjudged + more
    assert figure.num_judged + figure.num_unjudged == len(grades)


def test_nothing_judged_is_unknown_not_zero():
    assert accuracy([None]).value is None
    assert mean_with_interval([]).low is None
    assert paired_difference([None, True], [True, None]).value is None
    assert problem_means([[None], []]) == [None, None]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, None]), max_size=5), max_size=8))
def test_problem_means_are_means_of_what_is_known(values):
    for mean, row in zip(problem_means(values), values, strict=True):
        known = [value for value in row if value is not None]
        assert mean == (float(np.mean(known)) if known else None)


def test_mean_with_interval_equals_the_enumerated_bootstrap():
    """Over four problems all 256 resamples can be listed; the quantiles must be theirs."""
    values = [0.0, 0.25, 0.25, 1.0]
    means = [sum(draw) / 4 for draw in product(values, repeat=4)]
    figure = mean_with_interval(values, resamples=100_000)
    assert figure.value == 0.375
    assert (figure.low, figure.high) == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.02)


def test_both_ways_of_resampling_agree():
    """Few distinct values are drawn by their counts, many one by one: the same distribution."""
    rng = np.random.default_rng(1)
    few = rng.integers(0, 2, 800) / 1.0
    many = few + rng.normal(0, 1e-9, 800)
    by_counts, one_by_one = mean_with_interval(few), mean_with_interval(many)
    assert by_counts.low == pytest.approx(one_by_one.low, abs=2e-3)
    assert by_counts.high == pytest.approx(one_by_one.high, abs=2e-3)


@pytest.mark.parametrize("num_samples", [1, 4])
def test_bootstrap_over_problems_covers_the_truth(num_samples):
    """Samples of a problem hang together; resampling problems must still cover 95%.

    400 repetitions: a true 94.5% leaves [0.915, 0.975] less than once in a hundred.
    """
    rng = np.random.default_rng(7)
    hits = 0
    for repetition in range(400):
        ability = rng.beta(0.5, 0.5, size=120)
        right = rng.random((120, num_samples)) < ability[:, None]
        figure = mean_with_interval(problem_means(right.tolist()), seed=repetition, resamples=1_000)
        hits += figure.low <= 0.5 <= figure.high
    assert 0.915 <= hits / 400 <= 0.975


def test_paired_interval_covers_a_known_difference():
    rng = np.random.default_rng(8)
    hits = 0
    for repetition in range(400):
        hardness = rng.random(150)
        a = rng.random(150) < 0.1 + 0.8 * hardness
        b = rng.random(150) < 0.8 * hardness
        figure = paired_difference(a.tolist(), b.tolist(), seed=repetition, resamples=1_000)
        hits += figure.low <= 0.1 <= figure.high
    assert 0.915 <= hits / 400 <= 0.975


@given(GRADES, st.integers(0, 3))
def test_a_paired_difference_turns_round(a, seed):
    b = a[::-1]
    forth, back = paired_difference(a, b, seed=seed), paired_difference(b, a, seed=seed)
    assert forth.num_judged == back.num_judged
    assert (forth.num_above, forth.num_below) == (back.num_below, back.num_above)
    assert forth.p_value == back.p_value
    if forth.value is not None:
        assert forth.value == pytest.approx(-back.value)
        assert forth.low - 1e-12 <= forth.value <= forth.high + 1e-12


def test_paired_difference_counts_and_tests():
    a = [True] * 9 + [False] + [True] * 10 + [None]
    b = [False] * 9 + [True] + [True] * 10 + [True]
    figure = paired_difference(a, b)
    assert (figure.num_above, figure.num_below, figure.num_unjudged) == (9, 1, 1)
    assert figure.value == pytest.approx(0.4)
    assert figure.p_value == mcnemar_p(9, 1) == pytest.approx(22 / 1024)
    assert paired_difference([0.5, 1.0], [0.0, 1.0]).p_value is None


def test_seeds_decide_the_interval():
    values = np.random.default_rng(0).random(50).tolist()
    assert mean_with_interval(values, seed=1) == mean_with_interval(values, seed=1)
    assert mean_with_interval(values, seed=1) != mean_with_interval(values, seed=2)


def test_bad_values_are_refused_by_name():
    with pytest.raises(UserError, match="a has 1 problems and b has 2"):
        paired_difference([1.0], [1.0, 0.0])
    with pytest.raises(UserError, match="value 1 is nan"):
        mean_with_interval([0.0, math.nan])
    with pytest.raises(UserError, match="resamples is 0"):
        mean_with_interval([0.0], resamples=0)


@given(st.integers(0, 12), st.integers(0, 12))
def test_mcnemar_p_is_the_enumerated_tail(only_a, only_b):
    """All fair-coin outcomes at least as lopsided as what was seen."""
    coins = only_a + only_b
    gap = abs(only_a - only_b)
    extreme = sum(math.comb(coins, i) for i in range(coins + 1) if abs(2 * i - coins) >= gap)
    assert mcnemar_p(only_a, only_b) == pytest.approx(extreme / 2**coins)


def test_mcnemar_p_takes_thousands_of_problems():
    assert mcnemar_p(5_000, 5_000) == 1.0
    assert 0 < mcnemar_p(4_800, 5_200) < 1e-4


@pytest.mark.parametrize("kind", ["grades", "means"])
def test_ten_thousand_resamples_of_a_thousand_problems_are_quick(kind):
    rng = np.random.default_rng(3)
    draws = rng.integers(0, 2, (2, 1_000)) if kind == "grades" else rng.random((2, 1_000))
    a, b = draws.tolist()
    start = time.process_time()
    paired_difference(a, b)
    assert time.process_time() - start < 1.0


def test_cost_an_answer():
    cost = cost_an_answer([10, 30], [50, 70], [True, None])
    assert (cost.tokens, cost.positions, cost.positions_per_token) == (20, 60, 3)
    assert cost.tokens_per_right == 40
    unknown = cost_an_answer([10, 30], [50, None], [False, None])
    assert (unknown.positions, unknown.positions_per_token) == (None, None)
    assert unknown.tokens_per_right is None
    assert cost_an_answer([], [], []).tokens is None
    with pytest.raises(UserError, match="one entry a problem"):
        cost_an_answer([1], [], [True])
