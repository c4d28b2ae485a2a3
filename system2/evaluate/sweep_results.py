"""Turn a sweep's cells into figures: rows, pooled rows, differences to a baseline.

Place in the flow: `sweep.run_cells` gives a row a problem for each cell -> these pure functions
-> `results.json` and `sweep_plots`. Unjudged problems (grade None) are counted apart, never as
wrong. Every interval is of 95%.
"""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from system2.core import UserError
from system2.evaluate.metrics import (
    Estimate,
    accuracy,
    mean_with_interval,
    paired_difference,
    problem_means,
    wilson_interval,
)
from system2.evaluate.sweep import Cell, Method, named

UNITS = {
    "accuracy, low, high": "share of judged problems that are right, in [0, 1]; 95% interval: "
    "Wilson's in rows, a bootstrap over problems in pooled",
    "any_right": "share of problems with at least one right finished attempt, in [0, 1]: what a "
    "perfect choice among the same attempts would have reached",
    "budget": "sampled tokens that a problem may cost",
    "sampled_tokens": "tokens really sampled, mean a problem (total_sampled_tokens: over all n)",
    "positions_computed": "positions of forward passes, mean a problem; null: not known",
    "difference, low, high": "accuracy minus the baseline's at the same budget, same problems; "
    "bootstrap over problems, all seeds of one together",
    "at_equal_tokens": "the same, the baseline's values interpolated (in log tokens) to the "
    "tokens that the search really sampled; null: the baseline was not run so cheap or so dear",
}
"""What the numbers of a results file are, in words."""
SLACK = 1.02
"""How far beyond the baseline's dearest point its last values still count as equal compute."""

_Rows: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Point:
    """A method at a budget, pooled over seeds: a value a problem, and what it cost."""

    values_P: list[float | None]
    tokens: float


def results_of(
    cells: Sequence[Cell], outcomes: Sequence[_Rows], *, baseline: str | None
) -> dict[str, Any]:
    """Return "rows", "pooled", "paired", "baseline" and "units".

    `outcomes[c]` holds a row a problem of cell c, in one order for all cells of a task.
    `baseline` names the search that others are compared with: by default `majority` where it
    was swept, else the first search.
    """
    searches = list(dict.fromkeys(cell.config.search for cell in cells))
    compared = baseline_of(searches, baseline)
    groups: dict[tuple[Method, int], list[int]] = {}
    for index, cell in enumerate(cells):
        groups.setdefault((cell.method, cell.config.budget or 0), []).append(index)
    points = {
        key: Point(
            pooled_values([outcomes[i] for i in indices]),
            _mean([row["sampled_tokens"] for i in indices for row in outcomes[i]]),
        )
        for key, indices in groups.items()
    }
    return {
        "baseline": compared,
        "units": UNITS,
        "rows": [_row(cell, rows) for cell, rows in zip(cells, outcomes, strict=True)],
        "pooled": [
            _pooled(cells[indices[0]], [outcomes[i] for i in indices], points[key])
            for key, indices in groups.items()
        ],
        "paired": _paired(points, compared),
    }


def pooled_values(outcomes_S: Sequence[_Rows]) -> list[float | None]:
    """Return each problem's mean grade over seeds, in [0, 1]; None where no seed was judged.

    Raises: `UserError` where the seeds did not see the same problems.
    """
    asked = [[row["problem"] for row in rows] for rows in outcomes_S]
    if any(problems != asked[0] for problems in asked):
        raise UserError("the seeds of a sweep saw different problems; they cannot be pooled")
    return problem_means(
        [[row["grade"] for row in rows_P] for rows_P in zip(*outcomes_S, strict=True)]
    )


def baseline_of(searches: Sequence[str], name: str | None) -> str:
    """Return the search that others are compared with.

    Raises: `UserError` where the one that is named is not swept.
    """
    if name is not None and name not in searches:
        raise UserError(f"--baseline is {name}, which --searches does not name: add it there")
    return name or ("majority" if "majority" in searches else searches[0])


def _described(cell: Cell) -> dict[str, Any]:
    return {
        "task": cell.task,
        "policy": cell.proposer.policy,
        "verifier": named(cell.proposer.verifiers),
        "search": cell.config.search,
        "budget": cell.config.budget,
    }


def _row(cell: Cell, rows: _Rows) -> dict[str, Any]:
    figure = accuracy([row["grade"] for row in rows])
    return {**_described(cell), "seed": cell.config.seed, **_interval(figure), **_spent(rows)}


def _pooled(cell: Cell, outcomes_S: Sequence[_Rows], point: Point) -> dict[str, Any]:
    every = [row for rows in outcomes_S for row in rows]
    seeds = {"seeds": len(outcomes_S)}
    cost = _spent(every) | {"n": len(point.values_P)}
    return {**_described(cell), **seeds, **_interval(estimate(point.values_P)), **cost}


def estimate(values_P: Sequence[float | None]) -> Estimate:
    """Return the mean over problems with its interval: a bootstrap over problems.

    Where all values are 0, or all are 1, a bootstrap sees no spread and its interval is empty;
    Wilson's for so many problems is given instead.
    """
    figure = mean_with_interval(values_P)
    if figure.value not in (0.0, 1.0):
        return figure
    low, high = wilson_interval(round(figure.value * figure.num_judged), figure.num_judged)
    return Estimate(figure.value, low, high, figure.num_judged, figure.num_unjudged)


def _interval(figure: Estimate) -> dict[str, Any]:
    return {
        "accuracy": figure.value,
        "low": figure.low,
        "high": figure.high,
        "unjudged": figure.num_unjudged,
    }


def _spent(rows: _Rows) -> dict[str, Any]:
    tokens = [row["sampled_tokens"] for row in rows]
    positions = [row["positions_computed"] for row in rows]
    known = None not in positions
    return {
        "n": len(rows),
        "any_right": _mean([float(row["right"] > 0) for row in rows]),
        "attempts": _mean([row["attempts"] for row in rows]),
        "sampled_tokens": _mean(tokens),
        "positions_computed": _mean(positions) if known else None,
        "total_sampled_tokens": sum(tokens),
        "total_positions_computed": sum(positions) if known else None,
    }


def _mean(numbers: Sequence[float]) -> float:
    return math.fsum(numbers) / len(numbers)


def _paired(points: Mapping[tuple[Method, int], Point], baseline: str) -> list[dict[str, Any]]:
    """Return each method's difference to the baseline, budget by budget.

    The baseline stands beside a method with the same verifiers, or where it was run without a
    judge, with that token verifier or none.
    """
    curves: dict[tuple[str, tuple[str, ...]], dict[int, Point]] = {}
    for ((task, verifiers, search), budget), point in points.items():
        if search == baseline:
            curves.setdefault((task, verifiers), {})[budget] = point
    table: list[dict[str, Any]] = []
    for ((task, verifiers, search), budget), point in points.items():
        inside = [have for there, have in curves if there == task and set(have) <= set(verifiers)]
        if search == baseline or not inside:
            continue
        beside = max(inside, key=len)
        curve = curves[task, beside]
        even = matched(list(curve.values()), point.tokens)
        table.append(
            {
                "task": task,
                "verifier": named(verifiers),
                "search": search,
                "budget": budget,
                "baseline": baseline,
                "baseline_verifier": named(beside),
                **_difference(point.values_P, curve[budget].values_P),
                "sampled_tokens": point.tokens,
                "baseline_tokens": curve[budget].tokens,
                "at_equal_tokens": None if even is None else _difference(point.values_P, even),
            }
        )
    return table


def _difference(mine: Sequence[float | None], theirs: Sequence[float | None]) -> dict[str, Any]:
    found = paired_difference(mine, theirs)
    is_clear = found.low is not None and found.high is not None and not found.low <= 0 <= found.high
    better = (found.value or 0.0) > 0
    return {
        "difference": found.value,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "verdict": ("better" if better else "worse") if is_clear else "no clear difference",
    }


def matched(curve: Sequence[Point], tokens: float) -> list[float | None] | None:
    """Return a baseline's values at a cost in mean sampled tokens, problem by problem.

    Interpolated between its two nearest points, linearly in log tokens; None where it was run
    at no point so cheap, or so dear (by more than `SLACK`).
    """
    points = sorted(curve, key=lambda point: point.tokens)
    costs = [point.tokens for point in points]
    if not costs[0] / SLACK <= tokens <= costs[-1] * SLACK or tokens <= 0:
        return None
    above = bisect.bisect_left(costs, tokens)
    if above in (0, len(points)):
        return points[min(above, len(points) - 1)].values_P
    low, high = points[above - 1], points[above]
    if low.tokens <= 0:
        return None
    share = math.log(tokens / low.tokens) / math.log(high.tokens / low.tokens)
    return [
        None if a is None or b is None else a + share * (b - a)
        for a, b in zip(low.values_P, high.values_P, strict=True)
    ]
