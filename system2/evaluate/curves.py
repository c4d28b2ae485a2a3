"""Turn the samples of one problem into its value at k: pass@k, majority@k, best of k.

Each function looks at one problem and returns one value for each k, in [0, 1]; `metrics` then
makes an estimate over problems of them. All are expectations over the random subset of k of the
samples at hand, not one draw of it: the same number, with the noise of the draw taken out.

`_K` marks one entry a sample: `answers_K[i]`, `grades_K[i]` belong to sample i. Answers are in a
normal form (equal answers, equal strings). None is a sample without an answer, or a grade that
could not be judged; an unjudged winner is left out, never taken for wrong.

Sources: Chen et al. 2021, arXiv 2107.03374, section 2.1 (unbiased pass@k); Wang et al. 2023,
arXiv 2203.11171 (majority vote). Majority@k in closed form is our own derivation.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby

import numpy as np

from system2.core import UserError, derive_seed
from system2.evaluate.metrics import Floats, problem_means

SUBSETS = 1_000
"""Random subsets behind an expectation that is too large to work out exactly."""

MAX_EXACT_SAMPLES = 64
"""Samples a problem up to which majority@k is exact; above it `SUBSETS` subsets are drawn."""


def pass_at_k(grades_K: Sequence[bool | None], ks: Sequence[int]) -> list[float | None]:
    """Return, for each k, the chance that k random samples hold a right one.

    Unbiased (Chen et al. 2021): 1 - C(n - c, k) / C(n, k) with c right of n judged samples.
    None where fewer than k samples are judged. Raises: `UserError` on a k below 1.

    >>> pass_at_k([True, False, False], [1, 2, 3])
    [0.3333333333333333, 0.6666666666666666, 1.0]
    """
    _check_ks(ks)
    judged = [grade for grade in grades_K if grade is not None]
    num_wrong = len(judged) - sum(judged)
    curve: list[float | None] = []
    for k in ks:
        subsets = math.comb(len(judged), k)
        curve.append((subsets - math.comb(num_wrong, k)) / subsets if subsets else None)
    return curve


def majority_at_k(
    answers_K: Sequence[str | None],
    grades_K: Sequence[bool | None],
    ks: Sequence[int],
    *,
    seed: int = 0,
) -> list[float | None]:
    """Return, for each k, the chance that the most frequent answer of k random samples is right.

    An expectation over all k-subsets, exact up to `MAX_EXACT_SAMPLES` samples: one draw of k
    samples is a noisy look at the same number. `answers_K` are in a normal form (equal answers,
    equal strings); a sample without an answer (None) casts no vote. A tie is won by each of its
    answers equally often. Where the grades of one answer differ, their mean counts. Subsets
    whose winner is unjudged are left out; None where that leaves none, or where k exceeds the
    number of samples. Random: above `MAX_EXACT_SAMPLES`, by `derive_seed(seed)`.
    Raises: `UserError` where the lists differ in length or a k is below 1.
    """
    if len(answers_K) > MAX_EXACT_SAMPLES:
        weights_K = [1.0] * len(answers_K)
        return weighted_majority_at_k(answers_K, grades_K, weights_K, ks, seed=seed)
    _check_ks(ks)
    votes = _grades_by_answer(answers_K, grades_K)
    silent = votes.pop(None, [])
    sizes = {answer: len(grades) for answer, grades in votes.items()}
    shares: list[tuple[float | None, Sequence[float]]] = []
    for answer, grades in votes.items():
        grade = _mean(grades)
        if grade != 0:
            others = tuple(sorted(size for key, size in sizes.items() if key != answer))
            shares.append((grade, _win_chances(sizes[answer], others, len(silent))))
    total = len(answers_K)
    nobody = [math.comb(len(silent), k) / math.comb(total, k) for k in range(total + 1)]
    shares.append((_mean(silent), nobody))
    return [
        None if k > total else _mix([(grade, chances[k]) for grade, chances in shares]) for k in ks
    ]


def weighted_majority_at_k(
    answers_K: Sequence[str | None],
    grades_K: Sequence[bool | None],
    weights_K: Sequence[float | None],
    ks: Sequence[int],
    *,
    seed: int = 0,
    subsets: int = SUBSETS,
) -> list[float | None]:
    """Return, for each k, the chance that the answer of most weight among k samples is right.

    As `majority_at_k`, with a vote of `weights_K[i]` (a verifier's value; None casts no vote).
    Random: `subsets` subsets of the samples, the same ones for every problem and weighting, by
    `derive_seed(seed)`; so it is an estimate, except at k = all samples.
    """
    _check_ks(ks)
    _check_lengths(answers_K, weights_K)
    weights = [0.0 if weight is None else weight for weight in weights_K]
    heard_K = [
        answer if weight is not None else None
        for answer, weight in zip(answers_K, weights_K, strict=True)
    ]
    votes = _grades_by_answer(heard_K, grades_K)
    silent = _mean(votes.pop(None, []))
    index = {answer: column for column, answer in enumerate(votes)}
    credit_G = [_mean(grades) for grades in votes.values()]
    is_vote = np.zeros((len(heard_K), len(votes)))
    for row, answer in enumerate(heard_K):
        if answer is not None:
            is_vote[row, index[answer]] = 1.0
    curve: list[float | None] = []
    for k in ks:
        drawn = _random_subsets(len(heard_K), k, subsets, seed)
        present = drawn @ is_vote > 0
        mass = np.where(present, drawn @ (is_vote * np.array(weights)[:, None]), -np.inf)
        winners = present & (mass >= mass.max(axis=1, keepdims=True, initial=-np.inf) - 1e-12)
        shares = (winners / np.maximum(winners.sum(axis=1, keepdims=True), 1)).mean(axis=0)
        nobody = float((~present.any(axis=1)).mean())
        mixture = [(grade, float(won)) for grade, won in zip(credit_G, shares, strict=True)]
        curve.append(_mix([*mixture, (silent, nobody)]) if k <= len(heard_K) else None)
    return curve


def majority_of_first_k(
    answers_K: Sequence[str | None], grades_K: Sequence[bool | None], k: int
) -> bool | None:
    """Return the grade of the most frequent answer of the first k samples.

    What one run of majority@k gives, where `majority_at_k` gives its expectation. A tie goes to
    the answer seen first; where nobody answers the first sample counts. None where the winner
    is unjudged or there are fewer than k samples.
    """
    _check_ks([k])
    _check_lengths(answers_K, grades_K)
    if k > len(answers_K):
        return None
    first = list(answers_K[:k])
    voted = [answer for answer in first if answer is not None]
    if not voted:
        return grades_K[0]
    return grades_K[first.index(max(voted, key=voted.count))]


def best_of_k(
    scores_K: Sequence[float | None], grades_K: Sequence[bool | None], ks: Sequence[int]
) -> list[float | None]:
    """Return, for each k, the chance that the best scored of k random samples is right.

    Exact: the sample of rank r (0 is best) of n is the best of C(n - 1 - r, k - 1) of the
    C(n, k) subsets; samples of equal score share theirs. A sample without a score (None) is
    taken only where no scored one is in the subset. Subsets whose best is unjudged are left
    out; None where that leaves none, or where k exceeds the number of samples.
    Raises: `UserError` where the lists differ in length, on a score that is NaN or a k below 1.
    """
    _check_ks(ks)
    _check_lengths(scores_K, grades_K)
    keys = [-math.inf if score is None else score for score in scores_K]
    if any(math.isnan(key) for key in keys):
        raise UserError("a score is NaN; best of k needs scores that can be ordered")
    ordered = sorted(zip(keys, grades_K, strict=True), key=lambda pair: -pair[0])
    blocks = [[grade for _, grade in block] for _, block in groupby(ordered, lambda pair: pair[0])]
    curve: list[float | None] = []
    for k in ks:
        subsets, rest = math.comb(len(keys), k), len(keys)
        mixture: list[tuple[float | None, float]] = []
        for block in blocks if subsets else []:
            below = rest - len(block)
            chance = (math.comb(rest, k) - math.comb(below, k)) / subsets
            mixture += [(grade, chance / len(block)) for grade in block]
            rest = below
        curve.append(_mix(mixture) if subsets else None)
    return curve


@lru_cache(maxsize=32)
def _random_subsets(num_samples: int, k: int, subsets: int, seed: int) -> Floats:
    """Return rows of 0 and 1, `[subset][sample]`: which k samples each subset holds."""
    rng = np.random.default_rng(derive_seed("subsets", seed))
    rank = rng.random((subsets, num_samples)).argsort(axis=1).argsort(axis=1)
    return (rank < k).astype(np.float64)


@lru_cache(maxsize=1 << 16)
def _win_chances(mine: int, others: tuple[int, ...], silent: int) -> tuple[float, ...]:
    """Return `[k]`, the chance that an answer of `mine` votes wins a random k-subset.

    `others` are the votes of the other answers, `silent` the samples without one. Breaking ties
    at random is giving every answer a random rank: given that ours has rank u in [0, 1], an
    answer of as many votes loses to it with probability u. So with x counting samples, the
    subsets that an answer of `size` votes leaves us, if we have `won` votes, are
    sum_{i < won} C(size, i) x^i + u C(size, won) x^won; their product is integrated over u by
    Gauss-Legendre, exactly, since it is a polynomial in u of degree `len(others)` at most.
    """
    total = mine + sum(others) + silent
    points, weights = _gauss_legendre(len(others) // 2 + 1)
    ways = np.zeros(total + 1)
    for won in range(1, mine + 1):
        product = np.zeros((len(points), total + 1))
        product[:, : silent + 1] = [math.comb(silent, i) for i in range(silent + 1)]
        for size in others:
            factor = product.copy()
            for votes in range(1, min(won, size) + 1):
                chance = points[:, None] if votes == won else 1.0
                factor[:, votes:] += math.comb(size, votes) * chance * product[:, :-votes]
            product = factor
        ways[won:] += math.comb(mine, won) * (weights @ product)[: total + 1 - won]
    return tuple(float(ways[k]) / math.comb(total, k) for k in range(total + 1))


@lru_cache
def _gauss_legendre(num_points: int) -> tuple[Floats, Floats]:
    """Return points in [0, 1] and their weights, exact up to degree 2 `num_points` - 1."""
    points, weights = np.polynomial.legendre.leggauss(num_points)
    return (points + 1) / 2, weights / 2


def _mix(mixture: Sequence[tuple[float | None, float]]) -> float | None:
    """Return the mean grade under `(grade, chance)` pairs, given that it is judged.

    The chances add up to 1, less those of grade 0, which a caller may leave out.
    """
    judged = 1 - math.fsum(chance for grade, chance in mixture if grade is None)
    if judged <= 1e-12:
        return None
    right = math.fsum(grade * chance for grade, chance in mixture if grade is not None)
    return min(1.0, right / judged)


def _grades_by_answer(
    answers_K: Sequence[str | None], grades_K: Sequence[bool | None]
) -> dict[str | None, list[bool | None]]:
    _check_lengths(answers_K, grades_K)
    grades: dict[str | None, list[bool | None]] = {}
    for answer, grade in zip(answers_K, grades_K, strict=True):
        grades.setdefault(answer, []).append(grade)
    return grades


def _mean(grades_K: Sequence[bool | None]) -> float | None:
    return problem_means([grades_K])[0]


def _check_ks(ks: Sequence[int]) -> None:
    for k in ks:
        if k < 1:
            raise UserError(f"k is {k}; it must be at least 1")


def _check_lengths(first_K: Sequence[object], second_K: Sequence[object]) -> None:
    if len(first_K) != len(second_K):
        raise UserError(
            f"lists of {len(first_K)} and {len(second_K)} samples; they must be the same ones"
        )
