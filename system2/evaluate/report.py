"""Render the results of an evaluation as one self-contained HTML page.

The last step of the demo: `results.json` -> `render_report` -> `report.html`. The page loads
nothing (style, figures and script are inside it, and its policy forbids any other), reads in
light and dark, on paper and on a phone. Every text that reaches it, and above all what a model
wrote, goes through `escape`. The same results give the same page, byte for byte.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from system2.evaluate import report_plots as plots
from system2.evaluate.report_plots import escape, signed
from system2.evaluate.report_results import (
    METHODS,
    Results,
    Share,
    decoding_label,
    headline,
    method_label,
    optional_number,
    read_results,
)
from system2.evaluate.report_style import SCRIPT, STYLE, TONES

_POINTS = "difference in accuracy, percentage points"
_AGAINST = {"plain": "plain", "plausible_only": "plausible set", "sft_control": "SFT control"}
_ENDS = "value", "low", "high"
_SIGNS = {"up": "\u25b2", "down": "\u25bc", "level": "\u2248"}
_VERDICTS = {"up": "first is higher", "down": "first is lower", "level": "no measurable difference"}
_DASH, _DOT = "\u2013", " \u00b7 "


def render_report(results: Mapping[str, Any], *, title: str = "LLM2 on held-out problems") -> str:
    """Return the HTML page of an evaluation's results.

    `results` holds "rows" ({"method", "decoding", "n", "accuracy", "low", "high",
    "sampled_tokens", "cost_ratio"}; shares in [0, 1], tokens in total over the n problems),
    "paired" ({"a", "b", "decoding", "difference", "low", "high"}: a minus b) and "manifest".
    Optional: "chosen", the method that a validation split chose for the headline (default: the
    LLM2 layout of the highest accuracy, which the page then says); "notes", sentences; and
    "examples", each {"prompt", "answer", "sides"} where a side is {"method", "decoding",
    "grade", "text"}, with "tokens" in place of the text where they are known: {"text",
    "value" (any number or None), "changed" (the verifier changed the choice), "instead" (the
    token that would have stood there)}.
    Raises: `UserError` naming the entry that is missing or makes no sense.
    """
    read = read_results(results)
    sections = [
        _opening(read, title),
        _accuracy(read),
        _differences(read),
        _trade_off(read),
        _cost(read),
        _examples(read),
        _every_figure(read),
        _background(read),
    ]
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + f"\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


# ---- what was found


def _opening(results: Results, title: str) -> str:
    sizes = sorted({row.n for row in results.rows})
    count = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    under = [
        f"{count} problems",
        f"{len(results.methods)} methods",
        f"{len(results.decodings)} decodings",
    ]
    for key in ("task", "policy", "commit", "date"):
        value = results.manifest.get(key)
        if isinstance(value, str) and value:
            under.append(f"{key} {value}")
    sentences = headline(results)
    rest = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences[1:])
    cards = "".join(_card(results, decoding) for decoding in results.decodings)
    return (
        f'<header><h1>{escape(title)}</h1><p class="under">{_DOT.join(map(escape, under))}</p>'
        f'<p class="lede">{escape(sentences[0])}</p>{rest}</header>'
        + (f'<ul class="cards">{cards}</ul>' if cards else "")
    )


def _card(results: Results, decoding: str) -> str:
    """Return the chosen method's accuracy under a decoding, and how far it is above others."""
    method = results.chosen
    share = results.accuracy(method, decoding) if method else None
    if method is None or share is None:
        return ""
    against = {
        name: pair
        for base, name in _AGAINST.items()
        if (pair := results.pair(method, base, decoding)) and base != method
    }
    terms = "".join(
        f'<dt>against {name}</dt><dd><span class="{pair.verdict}-text">{_SIGNS[pair.verdict]} '
        f"{signed(pair.difference)}</span> [{signed(pair.low)}, {signed(pair.high)}]</dd>"
        for name, pair in against.items()
    )
    verdict = against["plain"].verdict if "plain" in against else "level"
    return (
        f'<li class="card {verdict}"><h3>{escape(method_label(method))}{_DOT}'
        f"{escape(decoding_label(decoding))}</h3>"
        f'<div class="big">{share.value:.1f}<span class="from">%</span></div>'
        f"<dl>{terms}</dl></li>"
    )


# ---- figures


def _accuracy(results: Results) -> str:
    known = [row.accuracy for row in results.rows if row.accuracy]
    if not known:
        return ""
    ticks = plots.nice_ticks(min(s.low for s in known), max(s.high for s in known), 6)
    panels: list[str] = []
    for decoding in results.decodings:
        found = {m: results.accuracy(m, decoding) for m in results.methods}
        marks = [_mark(method, share) for method, share in found.items() if share]
        plain = found.get("plain")
        name = decoding_label(decoding)
        if marks:
            line = plain.value if plain else None
            panels.append(plots.dot_panel(name, marks, ticks, "accuracy, %", line))
    return (
        f"<section><h2>Accuracy</h2>{_pivot(results)}"
        f"<figure>{_panels(panels)}<figcaption><b>Figure 1.</b> "
        "Accuracy with its 95% interval, a panel a decoding, on one axis. The dashed line is "
        "plain decoding. Intervals that overlap do not settle a comparison: figure 2 does."
        "</figcaption></figure></section>"
    )


def _pivot(results: Results) -> str:
    lines: list[str] = []
    best = {
        decoding: max(s.value for m in results.methods if (s := results.accuracy(m, decoding)))
        for decoding in dict.fromkeys(row.decoding for row in results.rows if row.accuracy)
    }
    for method in results.methods:
        cells: list[str] = []
        for decoding in results.decodings:
            share = results.accuracy(method, decoding)
            if share is None:
                cells.append(f"<td>{_DASH}</td>")
                continue
            value = f"{share.value:.1f}"
            value = f"<b>{value}</b>" if share.value == best[decoding] else value
            cells.append(f"<td>{value}<small>[{share.bounds}]</small></td>")
        costs = _distinct(results.costs(method), method)
        cost = " / ".join(f"{value:.2f}" for value in costs.values()) or _DASH
        lines.append(
            f'<tr{_ours(method)}><th scope="row">{escape(method_label(method))}</th>'
            f"{''.join(cells)}<td>{cost}</td></tr>"
        )
    heads = "".join(f'<th scope="col">{escape(decoding_label(d))}</th>' for d in results.decodings)
    return (
        '<div class="scroll"><table><thead><tr><th scope="col">Method</th>'
        f'{heads}<th scope="col">Cost, \u00d7 plain</th></tr></thead>'
        f'<tbody>{"".join(lines)}</tbody></table></div><p class="caption"><b>Table 1.</b> '
        "Accuracy in per cent and, below it, its 95% interval. Bold is the highest of a column, "
        "which need not be measurably the highest. Cost is that of a step.</p>"
    )


def _differences(results: Results) -> str:
    if not results.pairs:
        return ""
    bounds = [end for pair in results.pairs for end in (pair.low, pair.high)]
    ticks = plots.nice_ticks(min(0.0, *bounds), max(0.0, *bounds))
    decodings = dict.fromkeys([*results.decodings, *(pair.decoding for pair in results.pairs)])
    panels: list[str] = []
    for decoding in decodings:
        marks = [
            plots.Mark(
                f"{method_label(pair.a)} \u2212 {method_label(pair.b)}",
                pair.verdict,
                pair.difference,
                pair.low,
                pair.high,
            )
            for pair in results.pairs
            if pair.decoding == decoding
        ]
        if marks:
            panels.append(plots.forest_panel(decoding_label(decoding), marks, ticks, _POINTS))
    num, clear = len(results.pairs), sum(pair.verdict != "level" for pair in results.pairs)
    return (
        "<section><h2>Differences on the same problems</h2><figure>"
        f"{_panels(panels)}<figcaption><b>Figure 2.</b> Paired differences with their 95% "
        "intervals, right of zero where the first is right more often. Filled: the interval "
        f"leaves out zero ({clear} of {num}); hollow: no measurable difference. Of {num} "
        f"comparisons between equals about {0.05 * num:.1f} would come out filled by chance."
        "</figcaption></figure></section>"
    )


def _trade_off(results: Results) -> str:
    lines: list[plots.Line] = []
    for method in results.methods:
        points = [
            _point(tokens, row.decoding, _mark(method, row.accuracy))
            for row in results.rows
            if row.method == method and row.accuracy and (tokens := row.tokens_per_problem)
        ]
        points.sort(key=lambda point: point.x)
        if points:
            lines.append(plots.Line(method_label(method), _tone(method), tuple(points)))
    if not lines:
        return ""
    figure = plots.trade_off(
        "Accuracy against sampled tokens",
        lines,
        "sampled tokens a problem (logarithmic)",
        "accuracy, %",
    )
    return (
        f'<section><h2>Accuracy against sampled tokens</h2><figure><div class="wide">{figure}'
        "</div><figcaption><b>Figure 3.</b> What more samples buy: a line a method, a shape a "
        "decoding, whiskers 95% intervals. At one place on the horizontal axis methods have "
        "sampled as much (marks are moved apart by a hair); what a step costs is in figure 4."
        "</figcaption></figure></section>"
    )


def _cost(results: Results) -> str:
    bars = [
        plots.Mark(name, _tone(method), cost, cost, cost)
        for method in results.methods
        for name, cost in _distinct(results.costs(method), method_label(method)).items()
    ]
    if not bars:
        return ""
    figure = plots.cost_bars("Cost of a step", bars, "cost of a step, times plain decoding")
    return (
        f'<section><h2>Cost of a step</h2><figure><div class="wide">{figure}</div><figcaption>'
        "<b>Figure 4.</b> Time of a decoding step relative to plain decoding of the same batch "
        "(dashed: equal).</figcaption></figure></section>"
    )


def _distinct(costs: Mapping[str, float], label: str) -> dict[str, float]:
    """Return one named cost where all decodings agree to 1%, else one a decoding."""
    values = list(costs.values())
    if values and max(values) <= 1.01 * min(values):
        return {label: sum(values) / len(values)}
    return {f"{label}, {decoding}": value for decoding, value in costs.items()}


def _point(tokens: float, decoding: str, mark: plots.Mark) -> plots.Point:
    """Return a point; greedy is no step of the way from one sample to a majority of many."""
    return plots.Point(tokens, decoding_label(decoding), mark, decoding != "greedy")


def _panels(panels: Sequence[str]) -> str:
    return f'<div class="panels">{"".join(f"<div>{panel}</div>" for panel in panels)}</div>'


def _mark(method: str, share: Share) -> plots.Mark:
    return plots.Mark(method_label(method), _tone(method), share.value, share.low, share.high)


def _tone(method: str) -> str:
    tone = TONES.get(method, "plainly")
    return f"{tone} ours" if _is_ours(method) else tone


def _is_ours(method: str) -> bool:
    return method.startswith("llm2")


def _ours(method: str) -> str:
    return ' class="ours"' if _is_ours(method) else ""


# ---- examples


def _examples(results: Results) -> str:
    if not results.examples:
        return ""
    parts: list[str] = []
    for example in results.examples:
        sides = cast("Sequence[Mapping[str, Any]]", example.get("sides") or ())
        columns = "".join(_side(side) for side in sides)
        parts.append(
            f'<article class="example"><p class="prompt">{escape(example.get("prompt", ""))}</p>'
            f'<p class="caption">Right answer: <b>{escape(example.get("answer", _DASH))}</b></p>'
            f'<div class="sides">{columns}</div></article>'
        )
    return (
        '<section><h2>The same problems, side by side</h2><p class="caption">'
        "<mark>Marked</mark>: the verifier changed the choice; struck out, what would have stood "
        "there. The deeper the tint, the lower the verifier's value within the text; point at a "
        f"token to read it.</p>{''.join(parts)}</section>"
    )


def _side(side: Mapping[str, Any]) -> str:
    tokens = cast("Sequence[Mapping[str, Any]] | None", side.get("tokens"))
    text = escape(side.get("text", "")) if tokens is None else _solution(tokens)
    grade = {True: "right", False: "wrong"}.get(cast("bool", side.get("grade")), "not judged")
    tone = {"right": "up", "wrong": "down"}.get(grade, "level")
    names = [method_label(str(side.get("method", "")))]
    if side.get("decoding"):
        names.append(decoding_label(str(side["decoding"])))
    grade_mark = f'<span class="{tone}-text">{_SIGNS[tone]} {grade}</span>'
    return (
        f'<div class="side"><h4>{escape(_DOT.join(names))} {grade_mark}</h4>'
        f'<p class="solution">{text}</p></div>'
    )


def _solution(tokens: Sequence[Mapping[str, Any]]) -> str:
    """Return tokens as HTML: tinted by how far their value is below the highest of the text."""
    values = [optional_number(token, "value", "a token of an example") for token in tokens]
    known = [value for value in values if value is not None]
    top, span = max(known, default=0.0), max(known, default=0.0) - min(known, default=0.0)
    parts: list[str] = []
    for token, value in zip(tokens, values, strict=True):
        text = escape(token.get("text", ""))
        about = "" if value is None else f' title="value {value:.3f}"'
        if token.get("changed"):
            instead = token.get("instead")
            struck = "" if instead is None else f"<s>{escape(instead)}</s>"
            parts.append(f"<mark{about}>{text}{struck}</mark>")
        elif value is not None:
            doubt = (top - value) / span if span > 0 else 0.0
            parts.append(f'<span style="--d:{doubt:.2f}"{about}>{text}</span>')
        else:
            parts.append(text)
    return "".join(parts)


# ---- tables and background


def _every_figure(results: Results) -> str:
    rows = "".join(
        f'<tr{_ours(row.method)}><th scope="row">{escape(method_label(row.method))}</th>'
        f'<td class="words">{escape(decoding_label(row.decoding))}</td>'
        + _cell(row.n, ",.0f")
        + "".join(_cell(getattr(row.accuracy, end, None), ".1f") for end in _ENDS)
        + _cell(row.tokens_per_problem, ",.1f")
        + _cell(row.cost_ratio, ".2f")
        + "</tr>"
        for row in results.rows
    )
    pairs = "".join(
        f'<tr><th scope="row">{escape(method_label(pair.a))}</th>'
        f'<td class="words">{escape(method_label(pair.b))}</td>'
        f'<td class="words">{escape(decoding_label(pair.decoding))}</td>'
        + "".join(
            f'<td data-v="{end:.4f}">{signed(end)}</td>'
            for end in (pair.difference, pair.low, pair.high)
        )
        + f'<td class="words"><span class="{pair.verdict}-text">{_SIGNS[pair.verdict]} '
        f"{_VERDICTS[pair.verdict]}</span></td></tr>"
        for pair in results.pairs
    )
    heads = "n", "Accuracy, %", "Low", "High", "Tokens a problem", "Cost, \u00d7"
    tables = _table(("Method", "Decoding"), heads, rows, "Every measurement.")
    if pairs:
        words = "First", "Second", "Decoding"
        numbers = "First \u2212 second, points", "Low", "High"
        tables += _table(words, numbers, pairs, "Every paired difference.", ("Reading",))
    return (
        f"<section><h2>Every figure</h2>{tables}<details><summary>Table 1 as LaTeX "
        f"(booktabs)</summary><pre>{escape(latex_table(results))}</pre></details></section>"
    )


def _table(
    words: Sequence[str],
    numbers: Sequence[str],
    body: str,
    caption: str,
    last: Sequence[str] = (),
) -> str:
    heads = [f'<th scope="col" class="words">{escape(word)}</th>' for word in words]
    heads += [f'<th scope="col">{escape(word)}</th>' for word in numbers]
    heads += [f'<th scope="col" class="words">{escape(word)}</th>' for word in last]
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{"".join(heads)}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><p class="caption">{escape(caption)}</p>'
    )


def _cell(value: float | None, spec: str) -> str:
    if value is None:
        return f'<td data-v="-1e9">{_DASH}</td>'
    return f'<td data-v="{value:.6g}">{value:{spec}}</td>'


def latex_table(results: Results) -> str:
    """Return table 1 (methods by decodings, accuracy with its interval) for a paper."""
    heads = " & ".join(["Method", *(_latex(decoding_label(d)) for d in results.decodings)])
    lines = [rf"\begin{{tabular}}{{l{'r' * len(results.decodings)}}}", r"\toprule"]
    lines += [heads + r" \\", r"\midrule"]
    for method in results.methods:
        cells = [_latex(method_label(method))]
        for decoding in results.decodings:
            share = results.accuracy(method, decoding)
            cells.append(f"{share.value:.1f} {{\\scriptsize [{share.bounds}]}}" if share else "--")
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex(text: str) -> str:
    marks = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(marks.get(char, "\\" + char if char in "&%$#_{}" else char) for char in text)


def _background(results: Results) -> str:
    terms = "".join(
        f"<dt>{escape(METHODS[m][0])}</dt><dd>{escape(METHODS[m][1])}</dd>"
        for m in results.methods
        if m in METHODS
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in results.notes)
    scalars = {k: v for k, v in results.manifest.items() if isinstance(v, str | int | float)}
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in scalars.items())
    whole = json.dumps(dict(results.manifest), indent=2, ensure_ascii=False, default=str)
    return (
        (f'<section><h2>Notes</h2><ul class="notes">{notes}</ul></section>' if notes else "")
        + f'<section><h2>Methods</h2><dl class="terms">{terms}</dl><p class="caption">Intervals '
        "of accuracy are Wilson's, those of differences a bootstrap over problems that keeps "
        "the pairs together; both at 95%. Answers that could not be judged are counted in "
        "neither. Majority@k counts the most frequent answer of k samples.</p></section>"
        f'<section><h2>How it was made</h2><dl class="terms">{facts}</dl>'
        f"<details><summary>Whole manifest</summary><pre>{escape(whole)}</pre></details></section>"
    )
