"""First wrong steps: by hand, and the threshold against all that could be chosen."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import UserError
from system2.evaluate.first_errors import (
    NO_ERROR,
    FirstErrors,
    choose_threshold,
    first_error,
    first_errors,
)

values = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]), min_size=1, max_size=5)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[list[list[float]], list[int]]:
    rows = draw(st.lists(values, min_size=1, max_size=12))
    return rows, [draw(st.integers(NO_ERROR, len(row) - 1)) for row in rows]


def test_figures_by_hand() -> None:
    rows = [[0.9, 0.3, 0.1], [0.9, 0.3, 0.1], [0.9, 0.8], [0.2, 0.9], [0.6, 0.7]]
    labels = [1, 2, NO_ERROR, NO_ERROR, NO_ERROR]
    found = first_errors(rows, labels, threshold=0.5)
    assert found == FirstErrors(1 / 2, 2 / 3, pytest.approx(2 * (1 / 2) * (2 / 3) / (7 / 6)), 0.5)
    assert first_error([0.5], 0.5) == NO_ERROR, "only what falls below"
    assert first_errors([[0.1]], [NO_ERROR], threshold=0.5).f1 is None
    assert first_errors([[0.1], [0.1]], [NO_ERROR, 0], threshold=0.0).f1 == 0.0


@given(labelled())
def test_no_other_threshold_is_better(drawn: tuple[list[list[float]], list[int]]) -> None:
    rows, labels = drawn
    chosen = choose_threshold(rows, labels)
    assert 0 <= chosen <= 1

    def score(threshold: float) -> float:
        found = first_errors(rows, labels, threshold=threshold)
        known = (found.f1, found.error_accuracy, found.correct_accuracy)
        return next(figure for figure in known if figure is not None)

    every = [0.0, 1.0, *(value for row in rows for value in row)]
    every += [math.nextafter(value, 2) for value in every if value < 1]
    assert score(chosen) == pytest.approx(max(map(score, every)))


def test_a_perfect_verifier_finds_every_first_error() -> None:
    rows = [[1.0, 0.0, 0.0], [1.0, 1.0], [0.0], [1.0, 1.0, 0.0]]
    labels = [1, NO_ERROR, 0, 2]
    found = first_errors(rows, labels, threshold=choose_threshold(rows, labels))
    assert (found.error_accuracy, found.correct_accuracy, found.f1) == (1, 1, 1)
    assert found.threshold == 0.5, "the middle of all thresholds that are as good"


@pytest.mark.parametrize(
    ("rows", "labels", "named"),
    [
        ([[0.5]], [1], "cannot be 1"),
        ([[0.5]], [-2], "cannot be -2"),
        ([[0.5]], [], "each needs one"),
        ([[0.5, math.nan]], [0], "nan"),
        ([[1.5]], [0], "1.5"),
        ([], [], "no rows"),
    ],
)
def test_wrong_rows_are_named(rows: list[list[float]], labels: list[int], named: str) -> None:
    with pytest.raises(UserError, match=named):
        _ = choose_threshold(rows, labels)
