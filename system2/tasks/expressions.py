"""Arithmetic in words and trees: whole numbers, + - * / and brackets, read without `eval`.

A recursive-descent parser, its inverse, exact evaluation and a normal form for votes. Reading is
bounded for any input; `parse(render(expression)) == expression`.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

MAX_LENGTH = 400
"""Characters of the longest expression that is read; a longer one is refused."""
MAX_DEPTH = 40
"""Brackets and signs that may stand inside one another; a deeper nest is refused."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of an expression tree; `left` is None where `op` is a sign before `right`."""

    left: "Expression | None"
    op: str
    right: "Expression"


Expression: TypeAlias = int | Operation


_LEVELS = ("+-", "*/")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_SIGNS = str.maketrans("×·⋅∗÷∕⁄−–", "****///--")
_LATEX = re.compile(r"\\(times|cdot|div|left|right|[,;:! ])")
_LATEX_MEANING = {"times": "*", "cdot": "*", "div": "/"}
_TOKEN = re.compile(r"\s*([0-9]+|\\[dt]?frac|[-+*/()\[\]{}])")


class _UnreadableError(Exception):
    """The text is no expression."""


def parse(text: str) -> Expression | None:
    """Read an expression of whole numbers, + - * / and brackets; None where it is not one.

    Also reads × ÷ −, LaTeX's \\times \\cdot \\div \\frac{}{} and \\left \\right. Refuses texts
    over `MAX_LENGTH` and nests over `MAX_DEPTH`, so the cost is bounded for any input.

    >>> parse("(12 - 7) * 3")
    Operation(left=Operation(left=12, op='-', right=7), op='*', right=3)
    """
    if len(text) > MAX_LENGTH:
        return None
    text = _LATEX.sub(lambda found: _LATEX_MEANING.get(found[1], ""), text).translate(_SIGNS)
    tokens: deque[str] = deque()
    at = 0
    while found := _TOKEN.match(text, at):
        tokens.append(found[1])
        at = found.end()
    if text[at:].strip():
        return None
    tokens.append("")
    try:
        expression = _read_chain(tokens, 0, 0)
    except _UnreadableError:
        return None
    return None if tokens[0] else expression


def _read_chain(tokens: deque[str], level: int, depth: int) -> Expression:
    """Read operands joined by the operators of a level, left to right."""
    if level == len(_LEVELS):
        return _read_operand(tokens, depth)
    left = _read_chain(tokens, level + 1, depth)
    while tokens[0] and tokens[0] in _LEVELS[level]:
        op = tokens.popleft()
        left = Operation(left, op, _read_chain(tokens, level + 1, depth))
    return left


def _read_operand(tokens: deque[str], depth: int) -> Expression:
    token = tokens[0]
    if depth == MAX_DEPTH:
        raise _UnreadableError
    if token.isdecimal():
        return int(tokens.popleft())
    if token == "-":
        tokens.popleft()
        inner = _read_operand(tokens, depth + 1)
        return -inner if isinstance(inner, int) else Operation(None, "-", inner)
    if token.endswith("frac"):
        tokens.popleft()
        above = _read_group(tokens, "{", depth)
        return Operation(above, "/", _read_group(tokens, "{", depth))
    return _read_group(tokens, token, depth)


def _read_group(tokens: deque[str], opening: str, depth: int) -> Expression:
    if tokens[0] != opening or opening not in _CLOSING:
        raise _UnreadableError
    tokens.popleft()
    inner = _read_chain(tokens, 0, depth + 1)
    if tokens[0] != _CLOSING[opening]:
        raise _UnreadableError
    tokens.popleft()
    return inner


def render(expression: Expression) -> str:
    """Write an expression with as few brackets as keep its tree.

    >>> render(Operation(12, "-", Operation(7, "-", 3)))
    '12 - (7 - 3)'
    """
    return _render(expression, 0)


def _render(expression: Expression, level: int) -> str:
    """Write an operand that stands where operators of `level` and tighter need no brackets."""
    if isinstance(expression, int):
        return str(expression)
    if expression.left is None:
        return f"-{_render(expression.right, len(_LEVELS))}"
    own = next(i for i, ops in enumerate(_LEVELS) if expression.op in ops)
    text = f"{_render(expression.left, own)} {expression.op} {_render(expression.right, own + 1)}"
    return text if own >= level else f"({text})"


def evaluate(expression: Expression) -> Fraction:
    """Return the exact value. Raises: `ZeroDivisionError`."""
    if isinstance(expression, int):
        return Fraction(expression)
    left = Fraction(0) if expression.left is None else evaluate(expression.left)
    return apply(left, expression.op, evaluate(expression.right))


def apply(left: Fraction, op: str, right: Fraction) -> Fraction:
    """Return the result of one operation. Raises: `ZeroDivisionError`."""
    match op:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left / right


def leaves(expression: Expression) -> Iterator[int]:
    """Yield the numbers of an expression, left to right."""
    if isinstance(expression, int):
        yield expression
        return
    if expression.left is not None:
        yield from leaves(expression.left)
    yield from leaves(expression.right)


def normal_form(expression: Expression) -> str:
    """Write an expression so that order and grouping of sums and of products do not matter.

    >>> normal_form(Operation(3, "-", Operation(7, "-", 12)))
    '12 + 3 - 7'
    """
    if isinstance(expression, int):
        return str(expression)
    level = 0 if expression.op in _LEVELS[0] else 1
    forward, backward = _LEVELS[level]
    kept: list[str] = []
    inverted: list[str] = []
    _flatten(expression, level, kept, inverted)
    first = f" {forward} ".join(sorted(kept))
    rest = f" {backward} ".join([first, *sorted(inverted)])
    return rest if kept else rest.replace(" - ", "-", 1)


def _flatten(expression: Expression, level: int, kept: list[str], inverted: list[str]) -> None:
    """Collect the operands of a chain of one level by whether they are inverted in it."""
    if isinstance(expression, int):
        kept.append(str(expression))
        return
    if expression.op not in _LEVELS[level]:
        text = normal_form(expression)
        kept.append(f"({text})" if expression.op in _LEVELS[0] else text)
        return
    if expression.left is not None:
        _flatten(expression.left, level, kept, inverted)
    if expression.op == _LEVELS[level][0]:
        _flatten(expression.right, level, kept, inverted)
    else:
        _flatten(expression.right, level, inverted, kept)
