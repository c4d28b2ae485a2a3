"""Values at k against brute force over every subset."""

import doctest
import math
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import UserError
from system2.evaluate import curves
from system2.evaluate.curves import (
    best_of_k,
    majority_at_k,
    majority_of_first_k,
    pass_at_k,
    weighted_majority_at_k,
)

GRADE = st.sampled_from([True, False, None])
ANSWER = st.sampled_from(["1", "2", "3", "4", None])
GRADES_K = st.lists(GRADE, min_size=1, max_size=8)
VOTES_K = st.lists(st.tuples(ANSWER, GRADE), min_size=1, max_size=7)
SCORES_K = st.lists(
    st.tuples(st.sampled_from([0.1, 0.5, 0.5, 0.9, None]), GRADE), min_size=1, max_size=7
)


def known_mean(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def same(ours, truth):
    return (ours is None) == (truth is None) and (truth is None or math.isclose(ours, truth))


def expected_winner(winners):
    """Return the mean over subsets, each a list of `(grade, share)`, given a judged winner."""
    pairs = [pair for winner in winners for pair in winner if pair[0] is not None]
    mass = sum(share for _, share in pairs)
    return sum(grade * share for grade, share in pairs) / mass if mass else None


def vote(answers, grades, weights, chosen):
    """Return the winners of one subset as `(grade, share)`, by the plainest rule there is."""
    mass = {}
    for i in chosen:
        if answers[i] is not None:
            mass[answers[i]] = mass.get(answers[i], 0.0) + weights[i]
    top = max(mass.values(), default=None)
    winners = [a for a, m in mass.items() if math.isclose(m, top)] if mass else [None]
    means = [
        known_mean([g for a, g in zip(answers, grades, strict=True) if a == w]) for w in winners
    ]
    return [(mean, 1 / len(winners)) for mean in means]


def test_doctests():
    assert doctest.testmod(curves).failed == 0


@given(GRADES_K)
def test_pass_at_k_equals_enumeration(grades):
    judged = [grade for grade in grades if grade is not None]
    ks = range(1, len(grades) + 2)
    for k, ours in zip(ks, pass_at_k(grades, ks), strict=True):
        subsets = list(combinations(judged, k))
        assert same(ours, known_mean([any(subset) for subset in subsets]))


@given(VOTES_K)
@settings(deadline=None)
def test_majority_at_k_equals_enumeration(rows):
    answers, grades = zip(*rows, strict=True)
    ks = range(1, len(rows) + 2)
    ones = [1.0] * len(rows)
    for k, ours in zip(ks, majority_at_k(answers, grades, ks), strict=True):
        subsets = combinations(range(len(rows)), k)
        assert same(ours, expected_winner([vote(answers, grades, ones, s) for s in subsets]))


@given(st.lists(ANSWER, min_size=1, max_size=5))
@settings(deadline=None)
def test_majority_at_k_is_the_mean_of_majority_of_first_k(answers):
    """The expectation and the single run are one rule: over every order they agree."""
    grades = [answer == "1" for answer in answers]
    for k in range(1, len(answers) + 1):
        runs = [
            majority_of_first_k([answers[i] for i in order], [grades[i] for i in order], k)
            for order in permutations(range(len(answers)))
        ]
        (ours,) = majority_at_k(answers, grades, [k])
        assert ours == pytest.approx(np.mean(runs))


@given(VOTES_K, st.data())
@settings(deadline=None, max_examples=40)
def test_weighted_majority_at_all_samples_is_exact(rows, data):
    answers, grades = zip(*rows, strict=True)
    weights = data.draw(
        st.lists(st.sampled_from([0.1, 0.4, 0.9]), min_size=len(rows), max_size=len(rows))
    )
    (ours,) = weighted_majority_at_k(answers, grades, weights, [len(rows)], subsets=3)
    assert same(ours, expected_winner([vote(answers, grades, weights, range(len(rows)))]))


def test_weighted_majority_at_k_nears_enumeration():
    rng = np.random.default_rng(4)
    answers = [str(a) for a in rng.integers(0, 4, 8)]
    grades = [answer == "1" for answer in answers]
    weights = rng.random(8).tolist()
    ours = weighted_majority_at_k(answers, grades, weights, [2, 3, 5], subsets=40_000)
    for k, value in zip([2, 3, 5], ours, strict=True):
        subsets = combinations(range(8), k)
        truth = expected_winner([vote(answers, grades, weights, s) for s in subsets])
        assert value == pytest.approx(truth, abs=0.01)


def test_weight_decides_over_number_and_none_is_silent():
    answers, grades = ["1", "2", "2"], [True, False, False]
    assert weighted_majority_at_k(answers, grades, [0.9, 0.4, 0.4], [3]) == [1.0]
    assert weighted_majority_at_k(answers, grades, [0.5, 0.4, 0.4], [3]) == [0.0]
    assert weighted_majority_at_k(answers, grades, [0.5, None, 0.4], [3]) == [1.0]


@pytest.mark.parametrize("num_samples", [40, 64])
def test_exact_majority_stays_exact_with_many_samples(num_samples):
    """Against the sampled estimate at sizes that cannot be enumerated."""
    rng = np.random.default_rng(num_samples)
    answers = [str(a) if a else None for a in rng.zipf(1.5, num_samples) % 12]
    grades = [answer in ("1", "7") for answer in answers]
    ks = [1, 4, 20, num_samples]
    exact = majority_at_k(answers, grades, ks)
    drawn = weighted_majority_at_k(answers, grades, [1.0] * num_samples, ks, subsets=20_000)
    assert exact == pytest.approx(drawn, abs=0.015)
    assert exact[0] == pytest.approx(np.mean(grades))


def test_majority_of_very_many_samples_is_drawn():
    answers = ["1"] * 60 + ["2"] * 40
    grades = [answer == "1" for answer in answers]
    first, last = majority_at_k(answers, grades, [1, 100], seed=5)
    assert first == pytest.approx(0.6, abs=0.04)
    assert last == 1.0


@given(SCORES_K)
@settings(deadline=None)
def test_best_of_k_equals_brute_force(rows):
    scores, grades = zip(*rows, strict=True)
    keys = [-1.0 if score is None else score for score in scores]
    ks = range(1, len(rows) + 2)
    for k, ours in zip(ks, best_of_k(scores, grades, ks), strict=True):
        winners = []
        for subset in combinations(range(len(rows)), k):
            best = [i for i in subset if keys[i] == max(keys[j] for j in subset)]
            winners.append([(grades[i], 1 / len(best)) for i in best])
        assert same(ours, expected_winner(winners))


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_a_perfect_score_reaches_pass_at_k_and_a_blind_one_the_mean(grades):
    ks = range(1, len(grades) + 1)
    perfect = best_of_k([float(grade) for grade in grades], grades, ks)
    assert perfect == pytest.approx(pass_at_k(grades, ks))
    assert best_of_k([0.5] * len(grades), grades, ks) == pytest.approx([np.mean(grades)] * len(ks))


def test_bad_input_is_refused():
    with pytest.raises(UserError, match="k is 0"):
        pass_at_k([True], [0])
    with pytest.raises(UserError, match="2 and 1 samples"):
        majority_at_k(["1", "2"], [True], [1])
    with pytest.raises(UserError, match="2 and 1 samples"):
        weighted_majority_at_k(["1", "2"], [True, False], [0.5], [1])
    with pytest.raises(UserError, match="NaN"):
        best_of_k([math.nan], [True], [1])
    assert majority_of_first_k(["1"], [True], 2) is None
