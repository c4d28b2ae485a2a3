"""Perfect play with numbers: whether a target can still be made from those at hand.

For countdown and the Game of 24. A solver that is exact (fractions, never floats) goes from the
target backwards: it takes a small part of the numbers off, asks which value the rest would need,
and looks that up where the rest is small. Every value is taken without its sign: a difference can
be turned round and a sign written before a bracket, so v is within reach where -v is.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from math import gcd
from typing import TypeAlias

from system2.tasks.expressions import Expression, Operation, evaluate, parse

MAX_NUMBERS = 7
"""Numbers at hand above which the solver is not asked: it would take too long."""
SMALL = 4
"""Numbers of which all values are listed, where they are a part of more."""

Pool: TypeAlias = tuple[Fraction, ...]
"""The numbers at hand, in ascending order."""
_Ratio: TypeAlias = tuple[int, int]
"""A fraction >= 0 in lowest terms: in this form it is reckoned and looked up ten times as fast."""
_Ratios: TypeAlias = tuple[_Ratio, ...]

_LEFT = re.compile(r"\(\s*left:[^()]*\)\s*\.?\s*$", re.IGNORECASE)


def solve(
    numbers: Iterable[int | Fraction], target: int | Fraction, *, all_numbers: bool = True
) -> Expression | None:
    """Return an expression of the numbers that makes the target, None where there is none.

    Each number is used once, with `all_numbers` every one. The expression is of the numbers
    without their signs and makes the target without its sign; where none is negative it is the
    solution itself, and nothing on the way is negative. The same input gives the same expression.

    >>> from system2.tasks.expressions import render
    >>> render(solve([3, 3, 8, 8], 24))
    '8 / (3 - 8 / 3)'
    """
    pool = tuple(sorted(_ratio(abs(number)) for number in numbers))
    goal = _ratio(abs(target))
    for size in [len(pool)] if all_numbers else range(1, len(pool) + 1):
        for part in dict.fromkeys(itertools.combinations(pool, size)):
            if _makes(part, goal):
                return _expression(part, goal)
    return None


def _ratio(number: int | Fraction) -> _Ratio:
    return number.numerator, number.denominator


@lru_cache(maxsize=1 << 16)
def _makes(pool: _Ratios, target: _Ratio) -> bool:
    """Return whether some expression of the whole pool makes the target."""
    return pool == (target,) or next(_last_steps(pool, target), None) is not None


@lru_cache(maxsize=256)
def _values(pool: _Ratios) -> frozenset[_Ratio]:
    """Return all that a pool of at most `SMALL` numbers can make."""
    if len(pool) == 1:
        return frozenset(pool)
    found: set[_Ratio] = set()
    for part, rest in _halves(pool):
        others = _values(rest)
        for a, b in _values(part):
            for c, d in others:
                ad, bc, bd = a * d, b * c, b * d
                found.add(_lowest(ad + bc, bd))
                found.add(_lowest(abs(ad - bc), bd))
                found.add(_lowest(a * c, bd))
                if c:
                    found.add(_lowest(ad, bc))
                if a:
                    found.add(_lowest(bc, ad))
    return frozenset(found)


def _lowest(above: int, below: int) -> _Ratio:
    shared = gcd(above, below)
    return above // shared, below // shared


_LastStep: TypeAlias = tuple[_Ratios, _Ratio, str, _Ratios, _Ratio]
"""A pool, the value made of it, an operation, and the same of its second operand."""


def _last_steps(pool: _Ratios, target: _Ratio) -> Iterator[_LastStep]:
    """Yield the operations that can come last where the whole pool makes the target."""
    for part, rest in _halves(pool):
        known = _values(rest) if len(rest) <= SMALL else None
        for value in sorted(_values(part)):
            for needed, op, is_first in _needed(value, target):
                if needed in known if known is not None else _makes(rest, needed):
                    if is_first:
                        yield rest, needed, op, part, value
                    else:
                        yield part, value, op, rest, needed
            if value[0] == target[0] == 0:  # nought times anything
                yield part, value, "*", rest, _ratio(sum(Fraction(*number) for number in rest))


def _expression(pool: _Ratios, target: _Ratio) -> Expression:
    """Return an expression of the whole pool that makes a target within its reach."""
    if len(pool) == 1:
        return target[0] if target[1] == 1 else Operation(target[0], "/", target[1])
    left, first, op, right, second = next(_last_steps(pool, target))
    return Operation(_expression(left, first), op, _expression(right, second))


def _needed(value: _Ratio, target: _Ratio) -> Iterator[tuple[_Ratio, str, bool]]:
    """Yield (what is needed, by which operation, whether it is the first operand of it)."""
    (a, b), (c, d) = value, target
    ad, bc, bd = a * d, b * c, b * d
    if bc >= ad:
        yield _lowest(bc - ad, bd), "+", True
    yield _lowest(bc + ad, bd), "-", True
    if ad >= bc:
        yield _lowest(ad - bc, bd), "-", False
    if a:
        yield _lowest(bc, ad), "*", True
        yield _lowest(a * c, bd), "/", True
        if c:
            yield _lowest(ad, bc), "/", False


@lru_cache(maxsize=256)
def _halves(pool: _Ratios) -> tuple[tuple[_Ratios, _Ratios], ...]:
    """Return each way to split a pool in two, the part that is not the greater first."""
    found: dict[tuple[_Ratios, _Ratios], None] = {}
    places = range(len(pool))
    for size in range(1, len(pool) // 2 + 1):
        for taken in itertools.combinations(places, size):
            part = tuple(pool[i] for i in taken)
            rest = tuple(pool[i] for i in places if i not in taken)
            if (rest, part) not in found:
                found[part, rest] = None
    return tuple(found)


def steps_value(
    numbers: Sequence[int], target: int, lines: Iterable[str], *, all_numbers: bool
) -> float | None:
    """Return what perfect play can make of steps: 1.0 the target, 0.0 no longer.

    A step is a line `a op b = c` (or one of several operations); it takes the numbers of its left
    side from those at hand and puts its result there. A fraction is written `8/3` or `(8/3)`,
    a list "(left: ..)" of what is at hand is passed over. A wrong equation and a number that is
    not at hand lose. None where a line is no step, or where more than `MAX_NUMBERS` are at hand.
    """
    pools = {_pool(map(Fraction, numbers))}
    for line in lines:
        step = _step(line)
        if step is None:
            return None
        try:
            result = evaluate(step[0])
        except ZeroDivisionError:
            return 0.0
        if result != step[1]:
            return 0.0
        left_over = {after for pool in pools for after in _taken(step[0], pool)}
        pools = {_pool((*pool, result)) for pool in left_over}
    # Several pools where a text can be read in several ways: "8 / 3" of 8 and 3 or of 8/3 itself.
    if any(len(pool) > MAX_NUMBERS for pool in pools):
        return None
    wins = (solve(pool, target, all_numbers=all_numbers) is not None for pool in pools)
    return 1.0 if any(wins) else 0.0


def _pool(numbers: Iterable[Fraction]) -> Pool:
    return tuple(sorted(numbers))


def _step(line: str) -> tuple[Expression, Fraction] | None:
    """Return the left side of an equation and the number that it states, None for other lines."""
    left, equals, right = _LEFT.sub("", line).strip().rstrip(".").partition("=")
    expression, stated = parse(left), parse(right)
    if not equals or expression is None or isinstance(expression, int) or stated is None:
        return None
    number = _number(stated)
    return None if number is None else (expression, number)


def _number(expression: Expression) -> Fraction | None:
    """Return the number that an expression writes, be it a fraction; None: it writes a sum."""
    if isinstance(expression, int):
        return Fraction(expression)
    if expression.left is None:
        number = _number(expression.right)
        return None if number is None else -number
    left, right = expression.left, expression.right
    if expression.op == "/" and isinstance(left, int) and isinstance(right, int) and right:
        return Fraction(left, right)
    return None


def _taken(expression: Expression, pool: Pool) -> set[Pool]:
    """Return what can be left of a pool once the numbers of an expression are taken from it."""
    found: set[Pool] = set()
    number = _number(expression)
    if number is not None:
        # "-3 + 8" uses the 3 at hand under a sign, unless -3 itself is at hand.
        given = number if number in pool or number > 0 else -number
        if given in pool:
            at = pool.index(given)
            found.add(pool[:at] + pool[at + 1 :])
    if isinstance(expression, Operation):
        befores = {pool} if expression.left is None else _taken(expression.left, pool)
        found.update(after for before in befores for after in _taken(expression.right, before))
    return found
