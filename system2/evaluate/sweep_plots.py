"""Draw a sweep: accuracy against the tokens really sampled, a curve a method, and a page.

The last step of `system2 sweep`: `sweep_results.results_of` -> `figure.svg` and `report.html`.
Both load nothing from outside, and every name that reaches them goes through `escape`. The same
results give the same text.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from system2.evaluate.report_plots import Line, Mark, Point, escape, signed, trade_off
from system2.evaluate.report_style import STYLE

Row: TypeAlias = Mapping[str, Any]

_TONES = 8
"""Colours there are; a ninth method shares its colour with the first, not its label."""
_HEIGHT, _WIDTH = 436, 700


def figure(results: Mapping[str, Any]) -> str:
    """Return an SVG file: pooled accuracy against mean sampled tokens, a panel a task."""
    panels = _panels(results)
    height = max(1, len(panels)) * _HEIGHT
    placed = "".join(
        panel.replace("<svg ", f'<svg y="{i * _HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" ', 1)
        for i, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -10 {_WIDTH + 20} {height + 20}" '
        f'role="img" aria-label="Accuracy against sampled tokens"><style>{STYLE}</style>'
        f'<rect x="-10" y="-10" width="{_WIDTH + 20}" height="{height + 20}" '
        f'style="fill: var(--page)"/>{placed}</svg>\n'
    )


def page(results: Mapping[str, Any], *, title: str = "Search at equal compute") -> str:
    """Return an HTML page: the figures, where search pays, where it does not, every row."""
    panels = "".join(f'<figure class="wide">{panel}</figure>' for panel in _panels(results))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    baseline = escape(results["baseline"])
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>{_lede(results)}{panels}"
        f"<h2>Against {baseline}</h2><p>Percentage points of accuracy, with 95% intervals, at the "
        "same budget and (beside it) at the same number of tokens really sampled.</p>"
        f"{_paired(results)}<h2>Every method and budget</h2>{_pooled(results)}"
        f"<h2>Units</h2>{_units(results)}</main>\n</body>\n</html>\n"
    )


def method_names(results: Mapping[str, Any]) -> Callable[[Row], str]:
    """Return what names a row's method: its search, and of its verifier as little as tells it."""
    verifiers = {row["verifier"] for row in results["pooled"] if row["verifier"] is not None}
    deepest = max((name.count("/") for name in verifiers), default=0) + 1
    short = {name: name for name in verifiers}
    for parts in range(1, deepest + 1):
        found = {name: _last(name, parts) for name in verifiers}
        if len(set(found.values())) == len(found):
            short = found
            break

    def method(row: Row) -> str:
        verifier = row["verifier"]
        return row["search"] if verifier is None else f"{row['search']} \u00b7 {short[verifier]}"

    return method


def _last(verifier: str, parts: int) -> str:
    """Return the last parts of the path of each that works together."""
    return "+".join("/".join(one.rstrip("/").split("/")[-parts:]) for one in verifier.split("+"))


def _panels(results: Mapping[str, Any]) -> list[str]:
    """Return an SVG element a task that has a judged point."""
    found: list[str] = []
    method_name = method_names(results)
    for task in dict.fromkeys(row["task"] for row in results["pooled"]):
        methods: dict[str, list[Row]] = {}
        for row in results["pooled"]:
            if row["task"] == task and row["accuracy"] is not None:
                methods.setdefault(method_name(row), []).append(row)
        lines = [
            Line(name, f"tone{i % _TONES}", tuple(_points(name, f"tone{i % _TONES}", rows)))
            for i, (name, rows) in enumerate(methods.items())
        ]
        if lines:
            title = f"{task}: accuracy against sampled tokens"
            x_axis = "sampled tokens a problem, mean (logarithmic)"
            found.append(trade_off(title, lines, x_axis, f"accuracy on {task}, %"))
    return found


def _points(name: str, tone: str, rows: Sequence[Row]) -> list[Point]:
    return [
        Point(
            max(1.0, row["sampled_tokens"]),
            "pooled over seeds",
            Mark(name, tone, 100 * row["accuracy"], 100 * row["low"], 100 * row["high"]),
        )
        for row in sorted(rows, key=lambda row: row["sampled_tokens"])
    ]


def _lede(results: Mapping[str, Any]) -> str:
    """Say where the methods are clearly better or worse than the baseline."""
    paired, baseline = results["paired"], results["baseline"]
    if not paired:
        return f"<p class='lede'>Nothing was compared with {escape(baseline)}.</p>"
    said: list[str] = []
    method_name = method_names(results)
    has_several = len({row["task"] for row in paired}) > 1
    for verdict, words in (
        ("better", "clearly above"),
        ("worse", "clearly below"),
        ("no clear difference", "not clearly apart from"),
    ):
        rows = [row for row in paired if row["verdict"] == verdict]
        listed = ", ".join(
            f"{method_name(row)} at {row['budget']:,}" + f" ({row['task']})" * has_several
            for row in rows
        )
        if rows:
            said.append(f"<li>{words} {escape(baseline)}: {escape(listed)}</li>")
    return f"<ul>{''.join(said)}</ul>"


def _paired(results: Mapping[str, Any]) -> str:
    columns: dict[str, Callable[[Row], str]] = {
        "task": lambda row: row["task"],
        "method": method_names(results),
        "budget": lambda row: f"{row['budget']:,}",
        "tokens": lambda row: f"{row['sampled_tokens']:,.0f}",
        f"{results['baseline']}'s": lambda row: f"{row['baseline_tokens']:,.0f}",
        "difference": _points_apart,
        "verdict": lambda row: row["verdict"],
        "at equal tokens": lambda row: _points_apart(row["at_equal_tokens"]),
    }
    return _table(columns, results["paired"])


def _pooled(results: Mapping[str, Any]) -> str:
    columns: dict[str, Callable[[Row], str]] = {
        "task": lambda row: row["task"],
        "method": method_names(results),
        "budget": lambda row: f"{row['budget']:,}",
        "tokens": lambda row: f"{row['sampled_tokens']:,.0f}",
        "accuracy, %": lambda row: _share(row, "accuracy"),
        "from": lambda row: _share(row, "low"),
        "to": lambda row: _share(row, "high"),
        "any right, %": lambda row: _share(row, "any_right"),
        "problems": lambda row: f"{row['n']:,}",
        "seeds": lambda row: str(row["seeds"]),
    }
    return _table(columns, results["pooled"])


def _units(results: Mapping[str, Any]) -> str:
    said = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in results["units"].items()
    )
    return f'<dl class="terms">{said}</dl>'


def _share(row: Row, name: str) -> str:
    return "\u2013" if row[name] is None else f"{100 * row[name]:.1f}"


def _points_apart(row: Row | None) -> str:
    if row is None or row["difference"] is None:
        return "\u2013"
    value, low, high = (100 * row[name] for name in ("difference", "low", "high"))
    return f"{signed(value)} [{signed(low)}, {signed(high)}]"


def _table(columns: Mapping[str, Callable[[Row], str]], rows: Sequence[Row]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell(row))}</td>' for cell in columns.values())}</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{table}</div>'
