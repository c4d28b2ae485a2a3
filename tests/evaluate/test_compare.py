"""Comparisons: from attempts to rows, by hand and by law."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import Problem
from system2.evaluate.compare import (
    BEST_OF_N,
    Job,
    Method,
    jobs_of,
    paired_rows,
    result_rows,
    tokens_by_method,
    values_by_method,
)


def attempts(
    method: str, problem: str, grades: list[bool | None], values: list[float | None] | None = None
) -> dict[str, Any]:
    return {
        "method": method,
        "decoding": "sample",
        "problem": problem,
        "grades": grades,
        "answers": [str(grade) for grade in grades],
        "values": values or [None] * len(grades),
        "sampled_tokens": 10 * len(grades),
        "positions_computed": 0,
    }


def greedy(method: str, problem: str, grade: bool | None) -> dict[str, Any]:
    return attempts(method, problem, [grade]) | {"decoding": "greedy"}


def test_values_are_expected_accuracies() -> None:
    rows = [
        attempts("plain", "a", [True, True, True, False]),
        attempts("plain", "b", [False, False, True, None]),
        greedy("plain", "a", True),
        greedy("plain", "b", None),
    ]
    values = values_by_method(rows, seed=0)
    assert values["plain", "greedy"] == [1.0, None]
    assert values["plain", "sample"] == [0.75, pytest.approx(1 / 3)]
    assert values["plain", "majority@4"][0] == 1.0
    assert ("plain", "majority@20") not in values


def test_values_of_an_outcome_verifier_make_best_of_n() -> None:
    grades = [False, True, False, False]
    rows = [attempts("plain", "a", grades, [0.1, 0.9, 0.5, 0.2])]
    values = values_by_method(rows, seed=0)
    assert values[BEST_OF_N, "majority@4"] == [1.0]
    assert values["plain", "majority@4"] == [0.0]
    tokens = tokens_by_method(rows)
    assert tokens[BEST_OF_N, "majority@4"] == tokens["plain", "majority@4"] == 40
    assert tokens["plain", "sample"] == 10
    assert (BEST_OF_N, "sample") not in tokens


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=2, max_size=8))
def test_a_method_does_not_differ_from_itself(grades_P_K: list[list[bool]]) -> None:
    rows = [
        attempts(method, str(number), grades)
        for method in ("plain", "other")
        for number, grades in enumerate(grades_P_K)
    ]
    for row in paired_rows(rows, ["plain"], seed=0):
        assert (row["a"], row["b"]) == ("other", "plain")
        assert row["difference"] == row["low"] == row["high"] == 0
    for row in result_rows(rows, {"plain": 1.0}, seed=0):
        assert row["n"] == len(grades_P_K)
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
        assert row["cost_ratio"] == (1.0 if row["method"] == "plain" else None)


@given(st.integers(1, 600))
def test_jobs_hold_every_problem_once_greedily_and_once_sampled(count: int) -> None:
    problems = [Problem(str(i), "", "", "word_problems") for i in range(count)]
    methods = [Method("plain"), Method("plausible_only", alpha=0.1)]
    jobs = jobs_of(methods, problems, samples=4, max_tokens=9, seed=0)
    for method in methods:
        for is_greedy in (True, False):
            mine: list[Job] = [
                job for job in jobs if job.method == method and job.is_greedy == is_greedy
            ]
            assert [p for job in mine for p in job.problems] == problems
