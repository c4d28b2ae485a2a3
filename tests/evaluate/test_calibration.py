"""Errors and calibration: by hand, by known distributions, and whatever the order."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import UserError
from system2.evaluate.calibration import (
    brier_score,
    calibration_curve,
    correlation,
    debiased_calibration_error,
    expected_calibration_error,
    mean_absolute_error,
    noise_mae,
    root_mean_square_error,
    with_interval,
)

unit = st.floats(0, 1)
pairs = st.lists(st.tuples(unit, unit), min_size=1, max_size=60)


def test_errors_by_hand() -> None:
    values, truths = [0.2, 0.9, 0.5], [0.0, 1.0, 0.25]
    assert mean_absolute_error(values, truths) == pytest.approx((0.2 + 0.1 + 0.25) / 3)
    mean_square = (0.04 + 0.01 + 0.0625) / 3
    assert root_mean_square_error(values, truths) == pytest.approx(math.sqrt(mean_square))
    assert brier_score(values, truths) == pytest.approx(mean_square + 0.25 * 0.75 / 3)
    assert correlation([0.0, 0.5, 1.0], [0.1, 0.2, 0.3]) == pytest.approx(1)
    assert correlation([0.0, 0.5, 1.0], [1.0, 0.5, 0.0]) == pytest.approx(-1)
    assert correlation([0.5, 0.5], [0.0, 1.0]) is None


def test_brier_is_the_mean_over_the_outcomes_themselves() -> None:
    outcomes = [1, 0, 0, 1, 0]
    each = sum((0.3 - outcome) ** 2 for outcome in outcomes) / 5
    assert brier_score([0.3], [2 / 5]) == pytest.approx(each)


@given(st.lists(unit, min_size=1, max_size=60), st.integers(1, 12))
def test_perfect_values_have_no_error(truths: list[float], bins: int) -> None:
    names = [str(i % 7) for i in range(len(truths))]
    assert mean_absolute_error(truths, truths) == 0
    assert root_mean_square_error(truths, truths) == 0
    assert expected_calibration_error(truths, truths, bins=bins) == 0
    assert debiased_calibration_error(truths, truths, names, bins=bins) == 0


@given(pairs, st.integers(1, 12), st.randoms())
def test_the_order_of_prefixes_does_not_matter(
    drawn: list[tuple[float, float]], bins: int, rng: random.Random
) -> None:
    shuffled = rng.sample(drawn, len(drawn))
    one, other = ([list(side) for side in zip(*some, strict=True)] for some in (drawn, shuffled))
    assert calibration_curve(*one, bins=bins) == calibration_curve(*other, bins=bins)
    ece = expected_calibration_error(*one, bins=bins)
    assert ece == pytest.approx(expected_calibration_error(*other, bins=bins))
    assert 0 <= ece <= mean_absolute_error(*one) + 1e-12, "within a bin errors may cancel"


@given(pairs, st.integers(1, 12))
def test_bins_hold_every_prefix_once_and_equal_values_together(
    drawn: list[tuple[float, float]], bins: int
) -> None:
    values, truths = [list(side) for side in zip(*drawn, strict=True)]
    curve = calibration_curve(values, truths, bins=bins)
    assert sum(b.count for b in curve) == len(values)
    assert len(curve) <= min(bins, len(set(values)))
    assert [b.value for b in curve] == sorted(b.value for b in curve)
    total = math.fsum(b.truth * b.count for b in curve)
    assert total == pytest.approx(math.fsum(truths), abs=1e-9)


def test_bins_of_distinct_values_have_equal_mass() -> None:
    values = [i / 100 for i in range(100)]
    assert [b.count for b in calibration_curve(values, values, bins=10)] == [10] * 10


def test_the_ece_of_a_known_distribution_is_found() -> None:
    """Values v of outcomes that are right with probability v squared: ECE is E|v - v^2| = 1/6."""
    rng = np.random.default_rng(0)
    values = rng.random(40_000)
    outcomes = (rng.random(40_000) < values**2).astype(float)
    assert expected_calibration_error(values, outcomes, bins=20) == pytest.approx(1 / 6, abs=0.01)
    honest = (rng.random(40_000) < values).astype(float)
    assert expected_calibration_error(values, honest, bins=20) < 0.01


def test_the_bias_of_few_outcomes_is_taken_off() -> None:
    """Calibrated values of 200 outcomes look uncalibrated by chance alone."""
    raw: list[float] = []
    debiased: list[float] = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values = rng.random(200)
        outcomes = (rng.random(200) < values).astype(float)
        raw.append(expected_calibration_error(values, outcomes))
        debiased.append(debiased_calibration_error(values, outcomes, range(200)))
    assert np.mean(raw) > 0.06
    assert np.mean(debiased) < 0.7 * np.mean(raw)


def test_prefixes_of_one_problem_count_as_one_draw() -> None:
    """Ten copies of each prefix tell no more than one: as much bias is taken off."""
    rng = np.random.default_rng(1)
    values = rng.random(100)
    outcomes = (rng.random(100) < values).astype(float)
    once = debiased_calibration_error(values, outcomes, range(100), bins=5)
    tenfold = np.repeat(values, 10), np.repeat(outcomes, 10), np.repeat(np.arange(100), 10).tolist()
    assert debiased_calibration_error(*tenfold, bins=5) == pytest.approx(once)


def test_the_noise_of_rollouts_is_known_and_taken_out() -> None:
    rng = np.random.default_rng(2)
    truths = rng.random(20_000)
    values = np.clip(truths + rng.normal(0, 0.1, 20_000), 0, 1)
    exact = root_mean_square_error(values, truths)
    measured = rng.binomial(8, truths) / 8
    assert root_mean_square_error(values, measured) > exact + 0.05
    assert root_mean_square_error(values, measured, rollouts=8) == pytest.approx(exact, abs=0.005)
    for rollouts, lowest in ((8, 0.75), (64, 0.95)):
        shares = rng.binomial(rollouts, truths) / rollouts
        perfect = float(np.abs(shares - truths).mean())
        assert lowest * perfect < noise_mae(shares, rollouts) < 1.01 * perfect


@pytest.mark.parametrize("rollouts", [1, 2, 5, 16])
@pytest.mark.parametrize("q", [0.0, 0.2, 0.5, 0.8, 1.0, 1 / 3])
def test_the_mean_deviation_of_a_share_is_that_of_all_its_outcomes(q: float, rollouts: int) -> None:
    each = math.fsum(
        math.comb(rollouts, k) * q**k * (1 - q) ** (rollouts - k) * abs(k / rollouts - q)
        for k in range(rollouts + 1)
    )
    assert noise_mae([q], rollouts) == pytest.approx(each, abs=1e-12)


def test_intervals_resample_problems_whole() -> None:
    """A hundred prefixes of two problems are two draws, not two hundred."""
    errors = np.array([0.0] * 100 + [1.0] * 100)
    problems = ["a"] * 100 + ["b"] * 100
    figure = with_interval(lambda at: float(errors[at].mean()), problems)
    assert (figure.value, figure.low, figure.high) == (0.5, 0.0, 1.0)
    again = with_interval(lambda at: float(errors[at].mean()), problems)
    assert figure == again
    alone = with_interval(lambda at: float(errors[at].mean()), ["a"] * 200)
    assert (alone.value, alone.low, alone.high) == (0.5, None, None)


@pytest.mark.parametrize(
    ("values", "truths", "named"),
    [
        ([], [], "nothing to measure"),
        ([0.5], [], "pairs"),
        ([0.5, math.nan], [0.0, 1.0], "value 1 is nan"),
        ([0.5], [1.5], "true value 0 is 1.5"),
        ([-0.1], [0.0], "value 0 is -0.1"),
    ],
)
def test_what_cannot_be_measured_is_named(
    values: list[float], truths: list[float], named: str
) -> None:
    for measure in (mean_absolute_error, root_mean_square_error, brier_score, calibration_curve):
        with pytest.raises(UserError, match=named):
            _ = measure(values, truths)
    with pytest.raises(UserError, match="rollouts"):
        _ = root_mean_square_error([0.5], [0.5], rollouts=1)
    with pytest.raises(UserError, match="bins"):
        _ = calibration_curve([0.5], [0.5], bins=0)
