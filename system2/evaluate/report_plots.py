"""Draw the report's figures: plain SVG text from numbers, the same text for the same numbers.

Called by `report` only. A figure knows nothing of methods and decodings: it is given marks with
a label, a tone (a CSS class that `report_style` colours for light and dark) and a value in the
axis's unit. Colour never stands alone: marks carry their label, their number or a shape too.
Panels are narrow (`PANEL_WIDTH`), so that a phone shows them at nearly their natural size.
"""

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PANEL_WIDTH = 430
WIDE_WIDTH = 700
_SHAPES = ("circle", "diamond", "triangle", "square")


@dataclass(frozen=True, slots=True)
class Mark:
    """A value with its interval, in the axis's unit: a dot with its whisker."""

    label: str
    tone: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """A mark at `x` (> 0); marks of one `kind` share a shape, joined ones share their line."""

    x: float
    kind: str
    mark: Mark
    is_joined: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """The points of one method, by x; the label stands beside the last."""

    label: str
    tone: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Scale:
    """A map from [low, high] to pixels [start, end], linear or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)


def escape(text: object) -> str:
    """Return any text as HTML that shows it and does nothing else.

    Quotes are escaped too, so it may stand in an attribute. Characters that HTML cannot hold or
    that would reorder their neighbours (controls, surrogates, bidirectional marks) are shown
    by their number.

    >>> escape('<b>"\\x00')
    '&lt;b&gt;&quot;\\\\u0000'
    """
    return html.escape("".join(map(_visible, str(text))), quote=True)


def _visible(char: str) -> str:
    code = ord(char)
    is_control = (code < 32 and char not in "\n\t") or 127 <= code < 160
    is_bidi = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069 or code in (0x200E, 0x200F)
    is_broken = 0xD800 <= code <= 0xDFFF or code & 0xFFFE == 0xFFFE
    return f"\\u{code:04x}" if is_control or is_bidi or is_broken else char


def shorten(text: str, max_chars: int) -> str:
    """Return the text, cut with an ellipsis where it is longer than `max_chars`.

    >>> shorten("majority@20", 9)
    'majority…'
    """
    return text if len(text) <= max_chars else text[: max_chars - 1] + "\u2026"


def signed(value: float) -> str:
    """Return a number with its sign and one decimal, with a true minus.

    >>> signed(-0.31), signed(2), signed(-0.01)
    ('\u22120.3', '+2.0', '0.0')
    """
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\u2212")


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers whose first and last enclose [low, high].

    A span under 1 is divided as if it were 1, so that equal ends get ticks too.

    >>> nice_ticks(41.2, 78.0)
    [40.0, 50.0, 60.0, 70.0, 80.0]
    """
    rough = max(high - low, 1.0) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((s * power for s in (1, 2, 2.5, 5, 10)), key=lambda s: abs(math.log(s / rough)))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return the numbers 1, 2, 5 x 10^i within [low, high], where 0 < low <= high.

    >>> log_ticks(30, 900)
    [50.0, 100.0, 200.0, 500.0]
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]


# ---- figures


def dot_panel(
    title: str, marks: Sequence[Mark], ticks: Sequence[float], axis: str, reference: float | None
) -> str:
    """Draw one row a mark: dot, whisker and number; `reference` is a dashed line."""
    left, right, top, row = 138, 48, 34, 26
    bottom = top + row * len(marks)
    scale = Scale(ticks[0], ticks[-1], left, PANEL_WIDTH - right)
    body = [_text(0, 16, title, "title"), *_x_axis(scale, ticks, top - 6, bottom, axis)]
    if reference is not None:
        x = scale(reference)
        body.append(_line(x, top - 6, x, bottom, "reference"))
    for i, mark in enumerate(marks):
        y = top + row * (i + 0.5)
        body.append(_open(mark, f"{mark.value:.1f} [{mark.low:.1f}, {mark.high:.1f}]"))
        body.append(_text(left - 10, y + 4.5, shorten(mark.label, 20), "label", "end"))
        body.append(_whisker(scale, mark, y))
        body.append(_shape("circle", scale(mark.value), y))
        body.append(_text(PANEL_WIDTH, y + 4.5, f"{mark.value:.1f}", "number", "end"))
        body.append("</g>")
    return _svg(PANEL_WIDTH, bottom + 42, title, body)


def forest_panel(title: str, marks: Sequence[Mark], ticks: Sequence[float], axis: str) -> str:
    """Draw differences about a line at zero, the label and the numbers above each whisker.

    The dot is hollow where the whisker holds zero.
    """
    top, row = 34, 40
    bottom = top + row * len(marks)
    scale = Scale(ticks[0], ticks[-1], 14, PANEL_WIDTH - 16)
    zero = scale(0)
    body = [_text(0, 16, title, "title"), *_x_axis(scale, ticks, top - 6, bottom, axis)]
    body.append(_line(zero, top - 6, zero, bottom, "zero"))
    for i, mark in enumerate(marks):
        y = top + row * i
        numbers = f"{signed(mark.value)} [{signed(mark.low)}, {signed(mark.high)}]"
        body.append(_open(mark, numbers))
        body.append(_text(0, y + 13, shorten(mark.label, 42), "label backed"))
        body.append(_text(PANEL_WIDTH, y + 13, numbers, "number backed", "end"))
        body.append(_whisker(scale, mark, y + 26))
        hollow = "hollow" if mark.low <= 0 <= mark.high else ""
        body.append(_shape("circle", scale(mark.value), y + 26, hollow))
        body.append("</g>")
    return _svg(PANEL_WIDTH, bottom + 42, title, body)


def trade_off(title: str, lines: Sequence[Line], x_axis: str, y_axis: str) -> str:
    """Draw values against x on a logarithmic axis, a line a method, labelled at its end.

    Lines are moved apart sideways by a few pixels, so that marks of equal x can be told apart.
    """
    left, right, top, bottom = 46, 150, 44, 390
    points = [point for line in lines for point in line.points]
    x_low, x_high = min(p.x for p in points) / 1.7, max(p.x for p in points) * 1.5
    y_ticks = nice_ticks(min(p.mark.low for p in points), max(p.mark.high for p in points), 6)
    x_scale = Scale(x_low, x_high, left, WIDE_WIDTH - right, is_log=True)
    y_scale = Scale(y_ticks[0], y_ticks[-1], bottom, top)
    kinds = list(dict.fromkeys(point.kind for point in points))
    shapes = {kind: _SHAPES[i % len(_SHAPES)] for i, kind in enumerate(kinds)}
    body = [*_shape_legend(shapes, left), _text(0, top - 14, y_axis, "axis")]
    for tick in y_ticks:
        y = y_scale(tick)
        body.append(_line(left, y, WIDE_WIDTH - right, y, "grid"))
        body.append(_text(left - 8, y + 4, f"{tick:g}", "tick", "end"))
    body += _x_axis(x_scale, log_ticks(x_low, x_high), top, bottom, x_axis)
    ends = [y_scale(line.points[-1].mark.value) for line in lines]
    for i, label_y in enumerate(spread(ends, 17, top, bottom)):
        line, aside = lines[i], 3 * (i - (len(lines) - 1) / 2)
        body += _trace(line, x_scale, y_scale, shapes, aside)
        x = x_scale(line.points[-1].x) + aside
        path = f"M{_px(x + 8)} {_px(ends[i])}L{_px(WIDE_WIDTH - right + 2)} {_px(label_y)}"
        body.append(f'<g class="{line.tone}"><path class="leader" d="{path}"/>')
        body.append(
            _text(WIDE_WIDTH - right + 6, label_y + 4.5, shorten(line.label, 20), "label toned")
        )
        body.append("</g>")
    return _svg(WIDE_WIDTH, bottom + 46, title, body)


def cost_bars(title: str, bars: Sequence[Mark], axis: str) -> str:
    """Draw a bar from zero a mark (its whisker is not drawn), with a dashed line at 1."""
    left, right, top, row = 168, 52, 12, 26
    bottom = top + row * len(bars)
    ticks = nice_ticks(0, max(1.0, *(bar.value for bar in bars)))
    scale = Scale(0, ticks[-1], left, WIDE_WIDTH - right)
    body = _x_axis(scale, ticks, top - 6, bottom, axis)
    for i, bar in enumerate(bars):
        y = top + row * i
        body.append(_open(bar, f"{bar.value:.2f}"))
        body.append(_text(left - 10, y + 17.5, shorten(bar.label, 25), "label", "end"))
        width = max(1.0, scale(bar.value) - left)
        place = f'x="{left}" y="{_px(y + 5)}" width="{_px(width)}" height="16"'
        body.append(f'<rect class="bar" {place} rx="2"/>')
        number = f"{bar.value:.2f}\u00d7"
        body.append(_text(scale(bar.value) + 7, y + 17.5, number, "number backed"))
        body.append("</g>")
    body.append(_line(scale(1), top - 6, scale(1), bottom, "reference"))
    return _svg(WIDE_WIDTH, bottom + 42, title, body)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places moved as little as need be to lie at least `gap` apart, in their order.

    Kept within [low, high] where there is room.

    >>> spread([10.0, 12.0, 50.0], 8, 0, 100)
    [7.0, 15.0, 50.0]
    """
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    # Least squares under the gap: pool neighbours that overlap and give a pool its mean place.
    pools: list[tuple[float, int]] = []
    for rank, i in enumerate(order):
        pools.append((places[i] - gap * rank, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (b, num_b), (a, num_a) = pools.pop(), pools.pop()
            pools.append(((a * num_a + b * num_b) / (num_a + num_b), num_a + num_b))
    ceiling = high - gap * (len(places) - 1)
    shifts = [max(low, min(ceiling, place)) for place, count in pools for _ in range(count)]
    moved = [0.0] * len(places)
    for rank, (i, shift) in enumerate(zip(order, shifts, strict=True)):
        moved[i] = shift + gap * rank
    return moved


# ---- their parts


def _trace(
    line: Line, x_scale: Scale, y_scale: Scale, shapes: Mapping[str, str], aside: float
) -> list[str]:
    places = [(x_scale(point.x) + aside, y_scale(point.mark.value)) for point in line.points]
    joined = [
        f"{_px(x)} {_px(y)}"
        for point, (x, y) in zip(line.points, places, strict=True)
        if point.is_joined
    ]
    parts: list[str] = []
    if len(joined) > 1:
        parts.append(f'<g class="{line.tone}"><path class="trace" d="M{"L".join(joined)}"/></g>')
    for point, (x, y) in zip(line.points, places, strict=True):
        mark = point.mark
        parts.append(_open(mark, f"{point.kind}: {mark.value:.1f} at {point.x:,.0f}"))
        parts.append(_line(x, y_scale(mark.low), x, y_scale(mark.high), "faint"))
        parts.append(_shape(shapes[point.kind], x, y))
        parts.append("</g>")
    return parts


def _shape_legend(shapes: Mapping[str, str], left: float) -> list[str]:
    parts: list[str] = []
    x = left + 6
    for kind, shape in shapes.items():
        parts.append(f'<g class="plainly">{_shape(shape, x, 9)}</g>')
        name = shorten(kind, 20)
        parts.append(_text(x + 11, 13.5, name, "tick"))
        x += 36 + 6.6 * len(name)
    return parts


def _x_axis(
    scale: Scale, ticks: Sequence[float], top: float, bottom: float, title: str
) -> list[str]:
    parts: list[str] = []
    for tick in ticks:
        x = scale(tick)
        parts.append(_line(x, top, x, bottom, "grid"))
        label = f"{tick:,.0f}" if abs(tick) >= 1000 else f"{tick:g}".replace("-", "\u2212")
        parts.append(_text(x, bottom + 16, label, "tick", "middle"))
    parts.append(_text((scale.start + scale.end) / 2, bottom + 35, title, "axis", "middle"))
    return parts


def _whisker(scale: Scale, mark: Mark, y: float) -> str:
    low, high = scale(mark.low), scale(mark.high)
    caps = f"M{_px(low)} {_px(y - 4)}v8M{_px(high)} {_px(y - 4)}v8"
    return f'<path class="whisker" d="M{_px(low)} {_px(y)}H{_px(high)}{caps}"/>'


def _shape(shape: str, x: float, y: float, extra: str = "") -> str:
    kind = f"dot {extra}".strip()
    if shape == "circle":
        return f'<circle class="{kind}" cx="{_px(x)}" cy="{_px(y)}" r="5"/>'
    outline = {
        "diamond": "m0 -6.5l6.5 6.5l-6.5 6.5l-6.5 -6.5z",
        "triangle": "m0 -6.5l6.2 11h-12.4z",
        "square": "m-5 -5h10v10h-10z",
    }[shape]
    return f'<path class="{kind}" d="M{_px(x)} {_px(y)}{outline}"/>'


def _open(mark: Mark, numbers: str) -> str:
    """Open the group of a mark, with the tooltip that names it in full."""
    return f'<g class="{mark.tone}"><title>{escape(mark.label)}: {escape(numbers)}</title>'


def _text(x: float, y: float, content: str, kind: str, anchor: str = "start") -> str:
    place = f'x="{_px(x)}" y="{_px(y)}"'
    if anchor != "start":
        place += f' text-anchor="{anchor}"'
    return f'<text class="{kind}" {place}>{escape(content)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{_px(x1)} {_px(y1)}L{_px(x2)} {_px(y2)}"/>'


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _svg(width: float, height: float, title: str, body: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_px(width)} {_px(height)}" '
        f'role="img" aria-label="{escape(title)}">{"".join(body)}</svg>'
    )
