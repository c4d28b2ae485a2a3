"""Where a solution first goes wrong: ProcessBench's task, by the values of a verifier.

Pure functions. A row is one solution's values, a step each, in [0, 1]; its label is the index
of the first wrong step, or `NO_ERROR`. The verifier says the first step whose value falls below a
threshold, and the threshold is chosen on rows that are not measured on.

Source: ProcessBench (arXiv 2412.06559, section 3.3): accuracy on solutions with an error (the
first one has to be named exactly), accuracy on right ones, and F1, the harmonic mean of the two.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from system2.core import UserError

NO_ERROR = -1
"""The label of a solution all of whose steps are right."""


@dataclass(frozen=True, slots=True)
class FirstErrors:
    """Shares in [0, 1]; None where there is no solution of the kind.

    `f1` is the harmonic mean of the other two (0 where both are 0).
    """

    error_accuracy: float | None
    correct_accuracy: float | None
    f1: float | None
    threshold: float


def first_error(values: Sequence[float], threshold: float) -> int:
    """Return the index of the first value below the threshold, `NO_ERROR` where none is.

    >>> first_error([0.9, 0.4, 0.1], 0.5), first_error([0.9, 0.5], 0.5)
    (1, -1)
    """
    return next((i for i, value in enumerate(values) if value < threshold), NO_ERROR)


def first_errors(
    rows: Sequence[Sequence[float]], labels: Sequence[int], *, threshold: float
) -> FirstErrors:
    """Return how well the first wrong steps are found.

    Raises: `UserError` on a value outside [0, 1], or a label that is no step of its row.
    """
    _check(rows, labels)
    hits: dict[bool, list[bool]] = {True: [], False: []}
    for values, label in zip(rows, labels, strict=True):
        hits[label == NO_ERROR].append(first_error(values, threshold) == label)
    return _figures(sum(hits[False]), len(hits[False]), sum(hits[True]), len(hits[True]), threshold)


def choose_threshold(rows: Sequence[Sequence[float]], labels: Sequence[int]) -> float:
    """Return the threshold, in [0, 1], of the greatest F1; for validation rows.

    Exact: a row is answered rightly by an interval of thresholds, whose ends are values, so it
    is enough to look between neighbouring ends. Of thresholds as good the widest such interval's
    middle is taken, the lowest of equals. Where one kind of row is missing, the accuracy on the
    other stands for F1. Raises: `UserError` as `first_errors`, and where there is no row.
    """
    _check(rows, labels)
    if not rows:
        raise UserError("there are no rows to choose a threshold by")
    # at an end of an interval: how many more errors, and right solutions, are answered rightly
    events: dict[float, list[int]] = {}
    for values, label in zip(rows, labels, strict=True):
        low, high = _hit(values, label)
        if low < high:
            kind = int(label == NO_ERROR)
            events.setdefault(low, [0, 0])[kind] += 1
            events.setdefault(high, [0, 0])[kind] -= 1
    ends = sorted({-math.inf, 0.0, 1.0, math.inf, *events})
    num_right = sum(label == NO_ERROR for label in labels)
    num_wrong = len(labels) - num_right
    found: list[tuple[float, float, float]] = []
    errors = rights = 0
    for low, high in pairwise(ends):  # the thresholds in (low, high] are as good as each other
        errors += events.get(low, [0, 0])[0]
        rights += events.get(low, [0, 0])[1]
        if not 0 <= high <= 1:
            continue
        figures = _figures(errors, num_wrong, rights, num_right, 0.0)
        known = (figures.f1, figures.error_accuracy, figures.correct_accuracy)
        score = next(figure for figure in known if figure is not None)
        middle = high if low < 0 else (low + high) / 2
        found.append((score, high - max(0.0, low), middle if middle > low else high))
    best = max(found, key=lambda entry: (entry[0], entry[1], -entry[2]))
    return best[2]


def _hit(values: Sequence[float], label: int) -> tuple[float, float]:
    """Return the thresholds (above, up to) under which a row's label is said; empty: equal."""
    if label == NO_ERROR:
        return -math.inf, min(values, default=math.inf)
    return values[label], max(values[label], min(values[:label], default=math.inf))


def _figures(
    errors: int, num_wrong: int, rights: int, num_right: int, threshold: float
) -> FirstErrors:
    a = errors / num_wrong if num_wrong else None
    b = rights / num_right if num_right else None
    f1 = None if a is None or b is None else 2 * a * b / (a + b) if a + b else 0.0
    return FirstErrors(a, b, f1, threshold)


def _check(rows: Sequence[Sequence[float]], labels: Sequence[int]) -> None:
    if len(rows) != len(labels):
        raise UserError(f"{len(rows)} solutions but {len(labels)} labels; each needs one")
    for number, (values, label) in enumerate(zip(rows, labels, strict=True)):
        if not NO_ERROR <= label < len(values):
            raise UserError(
                f"solution {number} has {len(values)} steps; its first wrong one cannot be {label}"
            )
        for value in values:
            if not 0 <= value <= 1:
                raise UserError(f"solution {number} has the value {value}, not in [0, 1]")
