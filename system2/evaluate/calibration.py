"""How far a verifier's values are from the truth: errors, calibration, first wrong steps.

Pure functions. Place in the flow: prefixes with a verifier's value and a true value (a share of
right rollouts, perfect play's, a grade) -> figures with 95% intervals. `_N` marks one entry a
prefix: `values_N[i]` in [0, 1] is the verifier's, `truths_N[i]` in [0, 1] the true one,
`problems_N[i]` names the problem it is a prefix of. Prefixes of one problem are no independent
draws: whatever is resampled is the problem, with all its prefixes.

A true value measured by K rollouts has noise of its own, which makes every error look larger.
The mean square is freed of it exactly (q(1 - q)/K has the unbiased estimate q'(1 - q')/(K - 1));
the mean absolute error cannot be, so it is given raw beside K and `noise_mae`, what the true
values themselves would score.

Sources: calibration error over bins of equal mass and its bias: Kumar et al. (arXiv 1909.10155)
and Roelofs et al. (arXiv 2012.08668); first wrong steps and their F1: ProcessBench (arXiv
2412.06559). We differ: equal values are never parted into two bins, so that the order of the
prefixes does not matter, and the variance within a bin is of problems, not of prefixes.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from system2.core import UserError, derive_seed
from system2.evaluate.metrics import Floats

Places: TypeAlias = npt.NDArray[np.int64]
"""Indices of prefixes."""
Numbers: TypeAlias = Sequence[float] | Floats
"""A number a prefix."""
BINS = 10
"""Bins of a calibration curve, unless told otherwise."""
RESAMPLES = 1_000
"""Bootstrap resamples behind an interval here."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Prefixes of neighbouring values: their mean value, mean true value (in [0, 1]), number."""

    value: float
    truth: float
    count: int


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its 95% interval; the ends are None where resamples do not give it."""

    value: float | None
    low: float | None
    high: float | None


def mean_absolute_error(values_N: Numbers, truths_N: Numbers) -> float:
    """Return the mean of |value - truth|, in [0, 1]. Raises: `UserError` as all here."""
    values, truths = checked(values_N, truths_N)
    return float(np.abs(values - truths).mean())


def root_mean_square_error(
    values_N: Numbers, truths_N: Numbers, *, rollouts: int | None = None
) -> float:
    """Return the root of the mean of (value - truth)^2, in [0, 1].

    With `rollouts`, the number K behind each true value, the noise that they bring is taken out
    of the mean square (unbiased; below 0 it is taken for 0); K = 1 leaves nothing to know it by.
    Raises: `UserError` on fewer than 2 rollouts.
    """
    values, truths = checked(values_N, truths_N)
    mean_square = float(((values - truths) ** 2).mean())
    if rollouts is not None:
        if rollouts < 2:
            raise UserError(f"{rollouts} rollouts do not tell their own noise; it takes 2")
        mean_square -= float((truths * (1 - truths)).mean()) / (rollouts - 1)
    return math.sqrt(max(0.0, mean_square))


def brier_score(values_N: Numbers, truths_N: Numbers) -> float:
    """Return the mean of (value - outcome)^2 over outcomes of 0 and 1, in [0, 1].

    A true value between them stands for that share of outcomes 1, so it adds q(1 - q).
    """
    values, truths = checked(values_N, truths_N)
    return float(((values - truths) ** 2 + truths * (1 - truths)).mean())


def noise_mae(truths_N: Numbers, rollouts: int) -> float:
    """Return the MAE that perfect values would be measured to have, in [0, 1].

    The mean absolute deviation of a share of K rollouts (de Moivre: 2 m C(K, m) q^m
    (1 - q)^(K - m + 1) / K at m = floor(Kq) + 1), at q the measured value itself, which makes it
    somewhat low for few rollouts (by a fifth at 8 of evenly spread values, a thirtieth at 64).
    Raises: `UserError` on fewer than 1 rollout.
    """
    if rollouts < 1:
        raise UserError(f"rollouts is {rollouts}; it must be at least 1")
    _, truths = checked(truths_N, truths_N)
    return math.fsum(_deviation(float(q), rollouts) for q in truths) / len(truths)


def _deviation(q: float, rollouts: int) -> float:
    if not 0 < q < 1:
        return 0.0
    m = min(rollouts, math.floor(rollouts * q + 1e-9) + 1)
    logs = math.lgamma(rollouts + 1) - math.lgamma(m + 1) - math.lgamma(rollouts - m + 1)
    logs += m * math.log(q) + (rollouts - m + 1) * math.log1p(-q)
    return 2 * m * math.exp(logs) / rollouts


def correlation(values_N: Numbers, truths_N: Numbers) -> float | None:
    """Return Pearson's correlation, in [-1, 1]; None where either side does not vary."""
    values, truths = checked(values_N, truths_N)
    a, b = values - values.mean(), truths - truths.mean()
    scale = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    if np.ptp(values) == 0 or np.ptp(truths) == 0 or scale == 0:
        return None
    return max(-1.0, min(1.0, float((a * b).sum()) / scale))


def calibration_curve(values_N: Numbers, truths_N: Numbers, *, bins: int = BINS) -> list[Bin]:
    """Return bins of about equal mass, by rising value; those that hold nothing are left out.

    Prefixes of equal value share a bin: that of the middle of their ranks.

    >>> calibration_curve([0.1, 0.1, 0.9, 0.9], [0.0, 0.0, 1.0, 0.5], bins=2)
    [Bin(value=0.1, truth=0.0, count=2), Bin(value=0.9, truth=0.75, count=2)]
    """
    values, truths = checked(values_N, truths_N)
    bin_of = _bins(values, bins)
    return [
        Bin(math.fsum(values[at]) / len(at), math.fsum(truths[at]) / len(at), len(at))
        for b in np.unique(bin_of)
        if len(at := np.flatnonzero(bin_of == b))
    ]


def expected_calibration_error(values_N: Numbers, truths_N: Numbers, *, bins: int = BINS) -> float:
    """Return the ECE, in [0, 1]: |mean value - mean truth| of the bins, weighed by their mass.

    The bins are those of `calibration_curve`. It is biased upward: the means of a finite bin
    differ by chance (see `debiased_calibration_error`).
    """
    curve = calibration_curve(values_N, truths_N, bins=bins)
    return math.fsum(b.count * abs(b.value - b.truth) for b in curve) / len(values_N)


def debiased_calibration_error(
    values_N: Numbers,
    truths_N: Numbers,
    problems_N: Sequence[Hashable],
    *,
    bins: int = BINS,
) -> float:
    """Return the ECE less an estimate of what chance adds to it, in [0, 1].

    Kumar et al.'s correction: were each bin's gap d seen again with its standard error s, it
    would come out as E|N(d, s)|; what that exceeds |d| by is taken off. s is over problems. Of
    calibrated values it takes off some two fifths of what chance adds, never too much.
    """
    values, truths = checked(values_N, truths_N, problems_N)
    bin_of = _bins(values, bins)
    total = 0.0
    for b in np.unique(bin_of):
        at = np.flatnonzero(bin_of == b)
        residuals = values[at] - truths[at]
        gap = float(residuals.mean())
        by_problem: defaultdict[Hashable, float] = defaultdict(float)
        for i, residual in zip(at, residuals, strict=True):
            by_problem[problems_N[int(i)]] += float(residual) - gap
        error = math.sqrt(math.fsum(sum_ * sum_ for sum_ in by_problem.values())) / len(at)
        total += len(at) * (2 * abs(gap) - _folded(gap, error))
    return max(0.0, total / len(values))


def _folded(mean: float, deviation: float) -> float:
    """Return E|N(mean, deviation)|."""
    if deviation <= 0:
        return abs(mean)
    z = mean / deviation
    return deviation * math.sqrt(2 / math.pi) * math.exp(-z * z / 2) + mean * math.erf(
        z / math.sqrt(2)
    )


def _bins(values: Floats, bins: int) -> Floats:
    """Return the bin of each value: of the middle rank of all that equal it."""
    if bins < 1:
        raise UserError(f"bins is {bins}; it must be at least 1")
    ordered = np.sort(values)
    first = np.searchsorted(ordered, values, side="left")
    last = np.searchsorted(ordered, values, side="right")
    return np.minimum((first + last) * bins // (2 * len(values)), bins - 1).astype(np.float64)


def with_interval(
    measure: Callable[[Places], float | None],
    problems_N: Sequence[Hashable],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Figure:
    """Return a figure with its bootstrap interval over problems.

    `measure` is given the indices of prefixes, as often as their problem was drawn. The ends
    are None where there is one problem, or no resample has the figure. Random: the resamples,
    by `derive_seed(seed)`. Raises: `UserError` where there is no prefix.
    """
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for i, problem in enumerate(problems_N):
        members[problem].append(i)
    if not members:
        raise UserError("there is nothing to measure")
    value = measure(np.arange(len(problems_N)))
    groups: list[Places] = [np.asarray(group, dtype=np.int64) for group in members.values()]
    if len(groups) == 1 or value is None:
        return Figure(value, None, None)
    rng = np.random.default_rng(derive_seed("bootstrap", seed))
    found: list[float] = []
    for _ in range(resamples):
        chosen: list[int] = rng.integers(len(groups), size=len(groups)).tolist()
        drawn: Places = np.concatenate([groups[g] for g in chosen])
        if (figure := measure(drawn)) is not None:
            found.append(figure)
    if not found:
        return Figure(value, None, None)
    low, high = np.quantile(found, (0.025, 0.975))
    return Figure(value, float(low), float(high))


def checked(
    values_N: Numbers,
    truths_N: Numbers,
    problems_N: Sequence[Hashable] | None = None,
) -> tuple[Floats, Floats]:
    """Return both as arrays.

    Raises: `UserError` where there are none, their numbers differ, or one is outside [0, 1].
    """
    if not len(values_N) == len(truths_N) == len(truths_N if problems_N is None else problems_N):
        raise UserError(f"{len(values_N)} values but {len(truths_N)} true ones; pairs are needed")
    if not len(values_N):
        raise UserError("there is nothing to measure")
    arrays = np.asarray(values_N, dtype=np.float64), np.asarray(truths_N, dtype=np.float64)
    for name, array in zip(("value", "true value"), arrays, strict=True):
        wrong = np.flatnonzero(~((array >= 0) & (array <= 1)))
        if len(wrong):
            raise UserError(f"{name} {int(wrong[0])} is {array[wrong[0]]}; it must lie in [0, 1]")
    return arrays
