"""Turn the grades of many problems into figures that can be trusted, with 95% intervals.

Pure functions at the end of the flow: trees give grades, `curves` makes one value a problem out
of several samples, and these make the numbers that reports and docs quote. The unit that is
resampled is always the problem, so the samples of one problem count as one cluster.

Ragged lists say their axes in their suffix: `values_P_K[p][i]` is problem p, sample i; `_P` one
entry a problem, `_K` one entry a sample of one problem. A grade or value of None could not be
judged: it is counted apart and is never taken for wrong.

Sources: Wilson 1927 (interval); McNemar 1947 (exact test); Efron 1979 (bootstrap).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from system2.core import UserError, derive_seed

Floats: TypeAlias = npt.NDArray[np.float64]
"""An array of any shape; its suffix or its docstring says which."""

RESAMPLES = 10_000
"""Bootstrap resamples behind an interval: its ends then repeat to about a hundredth of it."""

_Z95 = NormalDist().inv_cdf(0.975)
_CHUNK = 1_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over problems with its 95% interval.

    `value`, `low` and `high` are None where no problem could be judged. `num_judged` problems
    made the figure; `num_unjudged` more had no value and are not in it.
    """

    value: float | None
    low: float | None
    high: float | None
    num_judged: int
    num_unjudged: int


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of a minus b over the problems that both have a value for.

    `low` and `high` bound the 95% interval; the three are None where no problem has both.
    `p_value` is McNemar's exact two-sided p in [0, 1], None where a value is not 0 or 1.
    `num_above` and `num_below` count the problems in which a is above, or below, b.
    """

    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    num_above: int
    num_below: int
    num_judged: int
    num_unjudged: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What answers cost: means an answer, in tokens; None where it is not known.

    `positions` are positions of a forward pass (prompt, candidates and verifier included);
    `tokens_per_right` divides all sampled tokens by the number of right answers.
    """

    tokens: float | None
    positions: float | None
    positions_per_token: float | None
    tokens_per_right: float | None


def wilson_interval(num_right: int, num_judged: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a proportion, both ends in [0, 1].

    Never empty and never outside [0, 1], also at 0 and at `num_judged` right.
    Raises: `UserError` unless 0 <= `num_right` <= `num_judged` and `num_judged` >= 1.

    >>> [round(end, 3) for end in wilson_interval(10, 10)]
    [0.722, 1.0]
    """
    if not 0 <= num_right <= num_judged or num_judged < 1:
        raise UserError(f"{num_right} right of {num_judged} judged is not a proportion")
    share = num_right / num_judged
    shrink = 1 + _Z95**2 / num_judged
    middle = (share + _Z95**2 / (2 * num_judged)) / shrink
    variance = share * (1 - share) / num_judged + _Z95**2 / (4 * num_judged**2)
    half = _Z95 * math.sqrt(variance) / shrink
    low = 0.0 if num_right == 0 else middle - half
    return low, 1.0 if num_right == num_judged else middle + half


def accuracy(grades_P: Sequence[bool | None]) -> Estimate:
    """Return the share of judged problems that are right, with Wilson's interval.

    >>> figure = accuracy([True, False, None, True])
    >>> round(figure.value, 3), figure.num_judged, figure.num_unjudged
    (0.667, 3, 1)
    """
    judged = [grade for grade in grades_P if grade is not None]
    num_unjudged = len(grades_P) - len(judged)
    if not judged:
        return Estimate(None, None, None, 0, num_unjudged)
    num_right = sum(judged)
    low, high = wilson_interval(num_right, len(judged))
    return Estimate(num_right / len(judged), low, high, len(judged), num_unjudged)


def problem_means(values_P_K: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Return the mean of each problem's samples that have a value; None where none has.

    >>> problem_means([[True, False, None], [None]])
    [0.5, None]
    """
    means: list[float | None] = []
    for values_K in values_P_K:
        judged = [value for value in values_K if value is not None]
        means.append(sum(judged) / len(judged) if judged else None)
    return means


def mean_with_interval(
    values_P: Sequence[float | None], *, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Return the mean over problems with a percentile bootstrap interval.

    Every problem weighs the same, however many samples its value was made from. The interval
    is a little narrow under some 30 problems, and empty where all values are equal.
    Random: the resamples, by `derive_seed(seed)`. Raises: `UserError` on a value that is not
    finite.
    """
    judged = _finite([value for value in values_P if value is not None])
    num_unjudged = len(values_P) - len(judged)
    if not len(judged):
        return Estimate(None, None, None, 0, num_unjudged)
    low, high = _bootstrap_interval(judged, seed, resamples)
    return Estimate(float(judged.mean()), low, high, len(judged), num_unjudged)


def paired_difference(
    a_P: Sequence[float | None],
    b_P: Sequence[float | None],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """Return how far method a is above method b on the same problems.

    `a_P[p]` and `b_P[p]` are the values (grades or means) of one problem p; a problem that
    lacks either is left out and counted. The interval is a bootstrap over problems, which
    keeps the pairs together, so what makes a problem hard for both cancels out.
    Random: the resamples, by `derive_seed(seed)`. Raises: `UserError` where the lists differ in
    length or hold a value that is not finite.
    """
    if len(a_P) != len(b_P):
        raise UserError(
            f"a has {len(a_P)} problems and b has {len(b_P)}; a paired difference needs the same"
        )
    pairs = [(a, b) for a, b in zip(a_P, b_P, strict=True) if a is not None and b is not None]
    num_unjudged = len(a_P) - len(pairs)
    if not pairs:
        return Difference(None, None, None, None, 0, 0, 0, num_unjudged)
    a_J, b_J = _finite([a for a, _ in pairs]), _finite([b for _, b in pairs])
    gaps = a_J - b_J
    low, high = _bootstrap_interval(gaps, seed, resamples)
    num_above, num_below = int((gaps > 0).sum()), int((gaps < 0).sum())
    are_grades = bool(np.isin(a_J, (0, 1)).all() and np.isin(b_J, (0, 1)).all())
    p_value = mcnemar_p(num_above, num_below) if are_grades else None
    mean = float(gaps.mean())
    return Difference(mean, low, high, p_value, num_above, num_below, len(pairs), num_unjudged)


def mcnemar_p(only_a: int, only_b: int) -> float:
    """Return McNemar's exact two-sided p in [0, 1].

    `only_a` and `only_b` count the problems that one method alone gets right; under "no
    difference" each of them is a fair coin. 1.0 where there are none.

    >>> mcnemar_p(0, 5)
    0.0625
    """
    if min(only_a, only_b) < 0:
        raise UserError(f"counts of problems cannot be negative: {only_a}, {only_b}")
    num_coins = only_a + only_b
    ways, tail = 1, 0
    for heads in range(min(only_a, only_b) + 1):
        tail += ways
        ways = ways * (num_coins - heads) // (heads + 1)
    return min(1.0, 2 * tail / 2**num_coins)


def cost_an_answer(
    tokens_P: Sequence[int],
    positions_P: Sequence[int | None],
    grades_P: Sequence[bool | None],
) -> Cost:
    """Return the mean cost of an answer; one entry a problem in each list.

    `positions_P` may hold None (not recorded): then the two figures of positions are None.
    `tokens_per_right` is None where nothing is right. Raises: `UserError` where the lists
    differ in length.
    """
    if not len(tokens_P) == len(positions_P) == len(grades_P):
        raise UserError("tokens, positions and grades must have one entry a problem each")
    if not tokens_P:
        return Cost(None, None, None, None)
    num, tokens = len(tokens_P), sum(tokens_P)
    known = [count for count in positions_P if count is not None]
    positions = sum(known) if len(known) == num else None
    num_right = sum(grade is True for grade in grades_P)
    return Cost(
        tokens=tokens / num,
        positions=None if positions is None else positions / num,
        positions_per_token=None if positions is None or not tokens else positions / tokens,
        tokens_per_right=tokens / num_right if num_right else None,
    )


def _finite(values: Sequence[float]) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise UserError(f"value {place} is {array[place]}; a mean needs finite values")
    return array


def _bootstrap_interval(values: Floats, seed: int, resamples: int) -> tuple[float, float]:
    """Return the 2.5% and 97.5% points of the means of resamples of `values`."""
    if resamples < 1:
        raise UserError(f"resamples is {resamples}; it must be at least 1")
    rng = np.random.default_rng(derive_seed("bootstrap", seed))
    distinct, counts = np.unique(values, return_counts=True)
    num_values = len(values)
    if 8 * len(distinct) <= num_values:
        # Equal values are interchangeable: how often each distinct one is drawn says it all,
        # and for 0/1 grades that is some 50 times faster than drawing every problem.
        drawn = rng.multinomial(num_values, counts / num_values, size=resamples)
        means = drawn @ distinct / num_values
    else:
        means = np.empty(resamples)
        rows = max(1, _CHUNK // num_values)
        for start in range(0, resamples, rows):
            stop = min(start + rows, resamples)
            drawn = rng.integers(num_values, size=(stop - start, num_values), dtype=np.int32)
            means[start:stop] = values[drawn].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
