"""Summarise a trees file: how many problems came out right, at what cost, and curves in k.

The end of `solve` -> trees -> `evaluate`. A row is a tree as `store` writes it; this reads only
"grade", "sampled_tokens", "positions_computed" (may be absent or None) and "nodes". A node that
carries "grade" is a finished attempt of its own, with "answer" (normal form, None: no answer)
and "value" (a verifier's, None: not scored) beside it; where every tree has at least one, the
summary adds what the attempts alone would have given: their mean accuracy, pass@k, majority@k
and, where they are scored, best of k and weighted majority@k. The unknown stays None.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from system2.core import UserError
from system2.evaluate.curves import (
    best_of_k,
    majority_at_k,
    pass_at_k,
    weighted_majority_at_k,
)
from system2.evaluate.metrics import (
    Estimate,
    accuracy,
    cost_an_answer,
    mean_with_interval,
    problem_means,
)


@dataclass(frozen=True, slots=True)
class _Row:
    """What a summary needs of one tree; `_K` holds one entry a finished attempt."""

    grade: bool | None
    sampled_tokens: int
    requested: int | None
    positions: int | None
    answers_K: tuple[str | None, ...]
    grades_K: tuple[bool | None, ...]
    values_K: tuple[float | None, ...]


def summarise(trees: Iterable[Mapping[str, Any]], *, seed: int = 0) -> dict[str, Any]:
    """Return the figures of a trees file, ready for JSON.

    "n" counts the trees, "unjudged" those of them whose grade is None; "accuracy" is the share
    of the judged ones that are right and "low", "high" its Wilson 95% interval, in [0, 1].
    "sampled_tokens", "positions_requested", "positions_reused" and "positions_computed" are
    totals over the file, the keys that end in "_per_answer", "_per_token" and "_per_right"
    ratios of them. With attempts: "attempts"
    (their mean number a tree), "attempt_accuracy" and the curves, lists of {"k", "accuracy",
    "low", "high", "unjudged"} with bootstrap intervals over problems. Random: the resamples
    and subsets, by `derive_seed(seed)`.
    Raises: `UserError` on a row that is not a tree, named by its number (from 1).
    """
    rows = [_read(tree, number) for number, tree in enumerate(trees, start=1)]
    grades_P = [row.grade for row in rows]
    positions_P = [row.positions for row in rows]
    tokens_P = [row.sampled_tokens for row in rows]
    cost = cost_an_answer(tokens_P, positions_P, grades_P)
    requested, computed = _total([row.requested for row in rows]), _total(positions_P)
    summary: dict[str, Any] = {
        "n": len(rows),
        **_interval(accuracy(grades_P)),
        "sampled_tokens": sum(tokens_P),
        "positions_requested": requested,
        "positions_reused": _difference(requested, computed),
        "positions_computed": computed,
        "tokens_per_answer": cost.tokens,
        "positions_per_answer": cost.positions,
        "positions_per_token": cost.positions_per_token,
        "tokens_per_right": cost.tokens_per_right,
    }
    return summary | _attempt_curves(rows, seed)


def powers_up_to(limit: int) -> list[int]:
    """Return 1, 2, 4, ... below `limit`, and `limit` itself; none where it is below 1.

    >>> powers_up_to(20)
    [1, 2, 4, 8, 16, 20]
    """
    powers = [1 << exponent for exponent in range(limit.bit_length()) if 1 << exponent < limit]
    return [*powers, limit] if limit >= 1 else []


def _attempt_curves(rows: Sequence[_Row], seed: int) -> dict[str, Any]:
    """Return the figures that need attempts; nothing where some tree has none.

    k runs to the smallest number of attempts of any tree, so that every point of a curve
    speaks of the same problems.
    """
    ks = powers_up_to(min((len(row.grades_K) for row in rows), default=0))
    if not ks:
        return {}

    def curve(at_k: Callable[[_Row], list[float | None]]) -> list[dict[str, Any]]:
        columns = zip(*(at_k(row) for row in rows), strict=True)
        figures = [mean_with_interval(values_P, seed=seed) for values_P in columns]
        return [{"k": k, **_interval(figure)} for k, figure in zip(ks, figures, strict=True)]

    means_P = problem_means([row.grades_K for row in rows])
    figures: dict[str, Any] = {
        "attempts": sum(len(row.grades_K) for row in rows) / len(rows),
        "attempt_accuracy": _interval(mean_with_interval(means_P, seed=seed)),
        "pass_at_k": curve(lambda row: pass_at_k(row.grades_K, ks)),
    }
    is_voted = any(answer is not None for row in rows for answer in row.answers_K)
    is_scored = any(value is not None for row in rows for value in row.values_K)
    if is_voted:
        figures["majority_at_k"] = curve(
            lambda row: majority_at_k(row.answers_K, row.grades_K, ks, seed=seed)
        )
    if is_scored:
        figures["best_of_k"] = curve(lambda row: best_of_k(row.values_K, row.grades_K, ks))
    if is_voted and is_scored:
        figures["weighted_majority_at_k"] = curve(
            lambda row: weighted_majority_at_k(
                row.answers_K, row.grades_K, row.values_K, ks, seed=seed
            )
        )
    return figures


def _interval(figure: Estimate) -> dict[str, Any]:
    return {
        "accuracy": figure.value,
        "low": figure.low,
        "high": figure.high,
        "unjudged": figure.num_unjudged,
    }


def _read(tree: Mapping[str, Any], number: int) -> _Row:
    missing = [key for key in ("grade", "sampled_tokens", "nodes") if key not in tree]
    if missing:
        raise UserError(f"tree {number} has no {missing[0]!r}; is this a trees file?")
    nodes = tree["nodes"]
    if not isinstance(nodes, list):
        raise UserError(f"tree {number}: 'nodes' is not a list")
    attempts = [
        cast("dict[str, Any]", node)
        for node in cast("list[Any]", nodes)
        if isinstance(node, dict) and "grade" in node
    ]
    where = f"tree {number}"
    return _Row(
        grade=_grade(tree["grade"], where),
        sampled_tokens=_count(tree["sampled_tokens"], "sampled_tokens", where),
        requested=_known_count(tree, "positions_requested", where),
        positions=_known_count(tree, "positions_computed", where),
        answers_K=tuple(_answer(node.get("answer")) for node in attempts),
        grades_K=tuple(_grade(node["grade"], where) for node in attempts),
        values_K=tuple(_value(node.get("value"), where) for node in attempts),
    )


def _grade(value: object, where: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise UserError(f"{where}: grade is {value!r}; it must be true, false or null")


def _known_count(tree: Mapping[str, Any], name: str, where: str) -> int | None:
    return None if tree.get(name) is None else _count(tree[name], name, where)


def _total(counts: Sequence[int | None]) -> int | None:
    """Return the sum, None where one is not known."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _difference(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first - second


def _count(value: object, name: str, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise UserError(f"{where}: {name} is {value!r}; it must be a whole number >= 0")


def _answer(value: object) -> str | None:
    return None if value is None else str(value)


def _value(value: object, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    raise UserError(f"{where}: value is {value!r}; it must be a finite number or null")
