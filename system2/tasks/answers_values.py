"""Read one answer into a value that can be compared: number, group, words or formula.

The second step of `answers`: text (tidied by `answers_latex`) in, a `Value` out. Arithmetic is
exact. Nothing here evaluates: whatever is not plainly a number, a group of answers or words
remains a `Formula` and is judged by `answers_worker`. Work is bounded: texts longer than
`MAX_CHARS`, nested deeper than `MAX_DEPTH` or with more than `MAX_ITEMS` parts are `Opaque`.
"""

import re
from dataclasses import dataclass
from typing import TypeAlias

from system2.tasks.answers_latex import is_balanced, tidy, to_latex, unwrap
from system2.tasks.answers_numbers import Number, read_number, read_plain

MAX_CHARS = 3_000
MAX_DEPTH = 12
MAX_ITEMS = 64


@dataclass(frozen=True, slots=True)
class Group:
    """Several answers.

    `brackets` are "" (a bare list), "()", "[]", "[)", "(]", "{}", ":" (a ratio), "∪" (a union)
    or "matrix" (the items are rows). `decimal` is the other reading of "1,22".
    """

    brackets: str
    items: tuple["Value", ...]
    latex: str
    decimal: Number | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """An answer with its name: x = 5, (p, q) = (3, 2), x ∈ [0, 1)."""

    label: str
    value: "Value"
    latex: str


@dataclass(frozen=True, slots=True)
class Words:
    """An answer in words, folded: case, punctuation and a leading article are gone."""

    text: str


@dataclass(frozen=True, slots=True)
class Formula:
    """Anything mathematical that is not read further, as strict LaTeX."""

    latex: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """A text too long, too deep or too manifold to read: equal to itself only."""

    text: str


Value: TypeAlias = Number | Group | Labelled | Words | Formula | Opaque

_ENGLISH = frozenset("is of in to by so we he it no at as on be do my an am if us up go me".split())
_MATH_WORDS = frozenset(
    "sin cos tan sec csc cot log ln exp sqrt pi arcsin arccos arctan sinh cosh tanh frac mod gcd "
    "lcm max min det theta alpha beta gamma lambda phi omega infty inf lim".split()
)
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\{[a-zA-Z*]{1,20}\}")
_POINTS = re.compile(r"[A-Z]+")
_SEPARATOR = re.compile(
    r"[,;:]|\\cup(?![a-zA-Z])|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])"
    r"|(?<=[\d)}$])(?:and|or)(?=[a-zA-Z(\\\d-])"
)
_COMMA = re.compile(r"[,;]")
_BRACKET = re.compile(r"\\[{}]|[\[({]|[\])}]|\\(begin|end)\b")
_MATRIX = re.compile(
    r"\(?\s?\[?\s?\\begin\{([pbvBV]?matrix|array)\}(?:\{[^{}]*\})?(.*)\\end\{\1\}\s?\]?\s?\)?(?:\^T)?",
    re.DOTALL,
)
_RELATION = re.compile(r"(\\le|\\ge|<|>)(?![a-zA-Z=])")
_FALLING = {">": "<", "\\ge": "\\le"}
_EQUALS = re.compile(r"(?<![<>!:=\\])=(?!=)")
_MEMBER = re.compile(r"\\in(?![a-zA-Z])")
_LABEL = re.compile(r"[a-zA-Z\\|(\[\"'][^+*=<>]{0,80}")
_VARIABLE = re.compile(r"[a-zA-Z](?:_\{?\w+\}?)?'?(?:\([a-zA-Z]\))?|\\[a-zA-Z]+")
_EITHER_SIGN = re.compile(r"\\(?:pm|mp)(?![a-zA-Z])")
_SET_BUILDER = re.compile(
    r"\s?(?:[a-zA-Z]|\([a-zA-Z, ]+\))(?:\s?\\in[^|:]{1,40})?\s?(?:\||\\mid|:)(.+)"
)
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_FREE = re.compile(r"[a-df-hj-zA-Z]")
_TRAILING_WORDS = re.compile(r'(?:"\s*[a-zA-Z][^"]*"(?:\^\{?[23]\}?)?\s?)+$')
_LOOSE = re.compile(r",\s|;|(?<![a-zA-Z\\])(?:and|or)(?![a-zA-Z])")
_TIGHT_GROUPS = re.compile(r"(?<![\d,.])(\d{1,3}(?:,\d{3})+)(?![\d,])")
_CLOCK = re.compile(r"(?<=\d)\s(am|pm)\b")
_DIGITS_APART = re.compile(r"[\d.]+(?:\s[\d.]+)+")
_COMMA_DECIMAL = re.compile(r"[-+]?(?:0,\d+|\d+,\d{2,})")
_FOLD = re.compile(r"[^\w:+\-*/^=<>|\\{}()\[\]%$]+")


def read_answer(answer: str) -> Value:
    r"""Return the value of an answer as written.

    >>> read_answer("(1, 0.5]").brackets
    '(]'
    """
    plain = read_plain(answer)
    if plain is not None:
        return plain
    if len(answer) > MAX_CHARS:
        return Opaque(answer.strip())
    text = tidy(answer)
    return Opaque(text) if _depth(text) > MAX_DEPTH else _read(text)


def has_words(text: str) -> bool:
    """Return whether a text holds English words, rather than variables, points and functions."""
    for match in _WORD.finditer(_ENVIRONMENT.sub(" ", text)):
        word = match.group()
        if word in _MATH_WORDS or _POINTS.fullmatch(word):
            continue
        if len(word) > 2 or word.lower() in _ENGLISH:
            return True
    return False


def fold_words(text: str) -> str:
    """Return words without case, punctuation and leading article, so that equals are equal."""
    folded = _FOLD.sub(" ", text.replace(".", "").casefold()).strip()
    folded = _CLOCK.sub(r"\1", folded)
    return folded.removeprefix("the ").removeprefix("a ").strip() or text.strip().casefold()


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in text:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
    return deepest


def _read(text: str, bracketed: bool = False) -> Value:
    text = unwrap(text)
    number = read_number(text)
    if number is not None and not (bracketed and "," in text):
        return number
    matrix = _MATRIX.fullmatch(text)
    if matrix and "\\begin" not in matrix.group(2):
        return _read_matrix(matrix.group(2), text)
    for reader in (_read_list, _read_brackets, _read_relation, _read_label):
        value = reader(text)
        if value is not None:
            return value
    return _read_formula(text)


def _read_formula(text: str) -> Value:
    signs = _EITHER_SIGN.findall(text)
    if signs:
        upper = _EITHER_SIGN.sub(lambda sign: "+" if sign.group() == signs[0] else "-", text)
        lower = _EITHER_SIGN.sub(lambda sign: "-" if sign.group() == signs[0] else "+", text)
        return Group("", (_read(upper), _read(lower)), to_latex(text))
    bare = text.replace('"', " ")
    without_unit = _TRAILING_WORDS.sub("", text).strip() if '"' in text else ""
    if without_unit and without_unit != text and not has_words(without_unit):
        return _read(without_unit)
    if has_words(bare):
        return Words(fold_words(bare))
    if _DIGITS_APART.fullmatch(bare.strip()):  # no formula: blanks would be dropped from it
        return Words(fold_words(bare))
    return Formula(to_latex(text))


def split_top(text: str, pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    """Split where the pattern matches outside all brackets: pairs of part and what ended it."""
    stops = list(pattern.finditer(text))
    if not stops:
        return [(text, "")]
    depths: list[tuple[int, int]] = []
    depth = 0
    for match in _BRACKET.finditer(text):
        token = match.group()
        depth += 1 if token in ("\\begin", "\\{", "[", "(", "{") else -1
        depths.append((match.end(), depth))
    parts: list[tuple[str, str]] = []
    start = level = index = 0
    for stop in stops:
        while index < len(depths) and depths[index][0] <= stop.start():
            level = depths[index][1]
            index += 1
        if level == 0:
            parts.append((text[start : stop.start()], stop.group()))
            start = stop.end()
    return [*parts, (text[start:], "")]


def _read_list(text: str) -> Value | None:
    parts = split_top(_shield_thousands(text), _SEPARATOR)
    if len(parts) == 1:
        return None
    if len(parts) > MAX_ITEMS:
        return Opaque(text)
    found = {mark for _, mark in parts if mark}
    if found == {":"}:
        return _ratio([part for part, _ in parts], text)
    if "\\cup" in found:
        return _group("∪", _cut(parts, {"\\cup"}), text) if found == {"\\cup"} else None
    strong = {";"} if ";" in found and "," in found else found - {":"}
    if not strong:
        return None
    pieces = _cut(parts, strong)
    if {"and", "or"} & strong and any(map(_is_in_words, pieces)):
        return None
    return _by_label(_group("", pieces, text))


def _is_in_words(piece: str) -> bool:
    return has_words(piece.replace('"', " ")) and read_number(unwrap(piece)) is None


def _cut(parts: list[tuple[str, str]], marks: set[str]) -> list[str]:
    """Join again the parts that were split at marks other than these."""
    pieces: list[str] = []
    piece = ""
    for part, mark in parts:
        piece += part
        if mark in marks or not mark:
            pieces.append(piece)
            piece = ""
        else:
            piece += mark
    return [_close_quotes(piece) for piece in pieces if piece.strip(' "')]


def _close_quotes(piece: str) -> str:
    """Drop the quote that was left open where words such as " and " were cut."""
    if piece.count('"') % 2 == 0:
        return piece
    piece = piece.strip()
    return piece[1:] if piece.startswith('"') else piece + '"'


def _shield_thousands(text: str) -> str:
    """Drop thousands separators where a looser comma or another mark separates the items."""
    if not _LOOSE.search(text):
        return text
    return _TIGHT_GROUPS.sub(
        lambda match: match.group() if _level(text, match.start()) else match[1].replace(",", ""),
        text,
    )


def _level(text: str, end: int) -> int:
    """Return how many brackets are open at a place."""
    opened = sum(text.count(bracket, 0, end) for bracket in "([{")
    return opened - sum(text.count(bracket, 0, end) for bracket in ")]}")


def _ratio(items: list[str], text: str) -> Value | None:
    values = tuple(_read(item) for item in items)
    if any(isinstance(value, Number) and value.unit for value in values):
        return Words(fold_words(text))  # a time of day
    if all(isinstance(value, Number | Formula) for value in values) and not has_words(text):
        return Group(":", values, to_latex(text))
    return None


def _group(brackets: str, items: list[str], text: str) -> Group:
    values: list[Value] = []
    for item in items:
        value = _read(item, bracketed=True)
        is_either = isinstance(value, Group) and not value.brackets and "\\pm" in item
        values += value.items if isinstance(value, Group) and is_either else [value]
    decimal = None
    if not brackets and _COMMA_DECIMAL.fullmatch(text):
        decimal = read_number(text.replace(",", "."))
    return Group(brackets, tuple(values), to_latex(text), decimal)


def _by_label(group: Group) -> Group:
    """Gather p=5, q=2, p=7, q=2 into (5, 2), (7, 2): labels that repeat in a cycle."""
    items = [item for item in group.items if isinstance(item, Labelled)]
    labels = [item.label for item in items]
    cycle = len(dict.fromkeys(labels))
    if len(items) < len(group.items) or cycle in (1, len(labels)) or len(labels) % cycle:
        return group
    if labels != labels[:cycle] * (len(labels) // cycle):
        return group
    rows = [items[start : start + cycle] for start in range(0, len(items), cycle)]
    tuples = tuple(Group("", tuple(item.value for item in row), "") for row in rows)
    return Group("", tuples, group.latex)


def _read_matrix(body: str, text: str) -> Value:
    rows = [row for row in re.split(r"\\\\", body) if row.strip()]
    cells = [[_read(cell) for cell in row.split("&")] for row in rows]
    if len(rows) * max((len(row) for row in cells), default=0) > MAX_ITEMS:
        return Opaque(text)
    return Group("matrix", tuple(Group("()", tuple(row), "") for row in cells), to_latex(text))


def _read_brackets(text: str) -> Value | None:
    is_set = text.startswith("\\{") and text.endswith("\\}")
    opening, closing = ("{", "}") if is_set else (text[:1], text[-1:])
    if not is_set and opening + closing not in ("()", "[]", "[)", "(]"):
        return None
    inner = text[2:-2] if is_set else text[1:-1]
    if not is_balanced(inner) or not inner.strip():
        return None
    builder = _SET_BUILDER.fullmatch(inner) if is_set else None
    if builder:
        return _read(builder[1])
    parts = split_top(_shield_thousands(inner), _COMMA)
    if len(parts) > MAX_ITEMS:
        return Opaque(text)
    if len(parts) == 1 and opening == "(":
        return _read(inner) if closing == ")" else None
    if len(parts) == 1 and opening == "[":
        return None
    only = _read(inner) if len(parts) == 1 else None
    if isinstance(only, Group):  # the set of one point, or of the numbers in an interval
        return only
    return _group(opening + closing, [part for part, _ in parts], text)


def _read_relation(text: str) -> Value | None:
    """Read x > 5 and -2 < x <= 7 as the intervals that they are."""
    parts = split_top(text, _RELATION)
    if not 2 <= len(parts) <= 3 or _EQUALS.search(text):
        return None
    sides = [part.strip(' "') for part, _ in parts]
    signs = [sign for _, sign in parts if sign]
    if {*signs} <= _FALLING.keys():
        sides.reverse()
        signs = [_FALLING[sign] for sign in reversed(signs)]
    if len(sides) == 2:
        is_lower = _VARIABLE.fullmatch(sides[1]) is not None
        sides = [*sides, "\\infty"] if is_lower else ["-\\infty", *sides]
        signs = [*signs, "<"] if is_lower else ["<", *signs]
    low, variable, high = sides
    if {*signs} & _FALLING.keys() or not _VARIABLE.fullmatch(variable):
        return None
    if not (_is_closed(low) and _is_closed(high)):
        return None
    brackets = ("[" if signs[0] == "\\le" else "(") + ("]" if signs[1] == "\\le" else ")")
    return Group(brackets, (_read(low), _read(high)), to_latex(text))


def _is_closed(text: str) -> bool:
    """Return whether a formula holds no variable."""
    return bool(text) and not _FREE.search(_COMMAND.sub("", text))


def _read_label(text: str) -> Value | None:
    text = text.rsplit("\\to ", 1)[-1]
    member = split_top(text, _MEMBER)
    if len(member) == 2 and _is_label(member[0][0]) and not has_words(member[0][0]):
        return Labelled(to_latex(member[0][0]), _read(member[1][0]), to_latex(text))
    text, *approximations = text.split("\\approx")
    if approximations and not _EQUALS.search(text):
        return _read(approximations[0] if _is_label(text) else text)
    parts = [part for part, _ in split_top(text, _EQUALS)]
    if not parts[-1].strip():
        return None
    if len(parts) == 1:
        return _read(text) if approximations else None
    if len(parts) == 2 and _VARIABLE.fullmatch(parts[1].strip()) and not _is_label(parts[0]):
        parts.reverse()
    if _is_label(parts[0]):
        return Labelled(to_latex(parts[0]), _read(parts[-1]), to_latex(text))
    if len(parts) > 2 or (_is_closed(parts[0]) and _is_closed(parts[1])):
        return _read(parts[-1])
    return None


def _is_label(text: str) -> bool:
    text = text.strip()
    return bool(_LABEL.fullmatch(text)) and "-" not in text.replace("^{-1}", "").replace("^-1", "")
