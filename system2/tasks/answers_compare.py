"""Compare two answers in three-valued logic: equal, different, or not for us to say.

The third step of `answers`. `compare` walks two `Value`s and calls a judge wherever two formulas
meet; in the caller's process the judge never knows (`undecided`), in the worker it is symbolic.
So both processes apply the same rules, and whatever can be told without algebra is told at once.

The rounding rule: a written decimal equals an exact number that has no finite decimal (1/3, √2)
when it is that number correctly rounded and shows at least `rounding_digits` significant digits.
Numbers with a finite decimal must be met exactly: 17.99 is not 18, 0.38 is not 3/8.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from typing import TypeAlias

from system2.tasks.answers_numbers import UNITS, Number
from system2.tasks.answers_values import Formula, Group, Labelled, Opaque, Value, Words, fold_words

Grade: TypeAlias = bool | None
Judge: TypeAlias = Callable[[Value, Value], Grade]

_BASED = re.compile(r"\d+_\{\d+\}")
_UNORDERED = ("", "{}", "∪")


def undecided(left: Value, right: Value) -> Grade:
    """Judge nothing: the judge of a process that does no algebra."""
    del left, right
    return None


def compare(left: Value, right: Value, judge: Judge, rounding_digits: int = 4) -> Grade:
    """Return whether two answers are equal; None where the judge was asked and did not know."""
    if left == right:
        return True
    if isinstance(left, Opaque) or isinstance(right, Opaque):
        return None
    if isinstance(left, Number) and isinstance(right, Number):
        return are_equal_numbers(left, right, rounding_digits)
    if isinstance(left, Labelled) or isinstance(right, Labelled):
        return _compare_labelled(left, right, judge, rounding_digits)
    if isinstance(left, Group) and isinstance(right, Group):
        return _compare_groups(left, right, judge, rounding_digits)
    if isinstance(left, Group) or isinstance(right, Group):
        return _compare_group_with_one(left, right, judge, rounding_digits)
    if isinstance(left, Words) or isinstance(right, Words):
        return _folded(left) == _folded(right)
    if _is_equation(left) != _is_equation(right) or _has_base(left) or _has_base(right):
        return False
    return judge(left, right)


def are_equal_numbers(left: Number, right: Number, rounding_digits: int = 4) -> bool:
    """Return whether two numbers are equal, honouring units, percentages and the rounding rule.

    Units count only where both sides name one: 50 cents is half a dollar, 5 cm is not 5 hours,
    and "18" is "18 dollars". A percentage equals itself, its bare number and its hundredth.
    """
    if left.unit and right.unit and left.unit != right.unit:
        (kind, scale), (other_kind, other_scale) = UNITS[left.unit], UNITS[right.unit]
        if kind != other_kind:
            return False
        left, right = _scaled(left, scale), _scaled(right, other_scale)
    if left.percent != right.percent:
        percent, bare = (left, right) if left.percent else (right, left)
        readings = (percent, _scaled(percent, Fraction(1, 100)))
        return any(_are_close(reading, bare, rounding_digits) for reading in readings)
    return _are_close(left, right, rounding_digits)


def is_rounding_of(decimal: Number, exact: Fraction, rounding_digits: int) -> bool:
    """Return whether a decimal is a number rounded; one that goes on ("0.33...") must begin it."""
    if decimal.step is None:
        return False
    if decimal.cut:
        rest = abs(exact) - abs(decimal.value)
        return decimal.digits > 2 and 0 <= rest < decimal.step and exact * decimal.value > 0
    is_near = abs(exact - decimal.value) <= decimal.step / 2
    return is_near and decimal.digits >= rounding_digits


def _scaled(number: Number, scale: Fraction) -> Number:
    step = None if number.step is None else number.step * scale
    return replace(number, value=number.value * scale, step=step)


def _are_close(left: Number, right: Number, rounding_digits: int) -> bool:
    if left.value == right.value and not left.cut and not right.cut:
        return True
    if left.step is None and right.step is None:
        return False
    if left.step is not None and right.step is not None:
        return left.value == right.value
    decimal, exact = (left, right) if left.step is not None else (right, left)
    if _is_finite_decimal(exact.value):
        return False
    return is_rounding_of(decimal, exact.value, rounding_digits)


def _is_finite_decimal(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _folded(value: Value) -> str:
    match value:
        case Words(text):
            return text
        case Formula(latex):
            return fold_words(latex)
        case _:
            return ""


def _all(grades: Iterable[Grade]) -> Grade:
    known: Grade = True
    for grade in grades:
        if grade is False:
            return False
        if grade is None:
            known = None
    return known


def _any(grades: Iterable[Grade]) -> Grade:
    known: Grade = False
    for grade in grades:
        if grade is True:
            return True
        if grade is None:
            known = None
    return known


def _compare_labelled(left: Value, right: Value, judge: Judge, digits: int) -> Grade:
    left_value = left.value if isinstance(left, Labelled) else left
    right_value = right.value if isinstance(right, Labelled) else right
    if isinstance(left, Labelled) and isinstance(right, Labelled):
        grade = compare(left_value, right_value, judge, digits)
        if grade is True or left.label == right.label:
            return grade
        return judge(_whole(left), _whole(right))
    whole_left, whole_right = _whole(left), _whole(right)
    if _is_equation(whole_left) and _is_equation(whole_right):
        return judge(whole_left, whole_right)
    return compare(left_value, right_value, judge, digits)


def _whole(value: Value) -> Value:
    return Formula(value.latex) if isinstance(value, Labelled | Group) else value


def _is_equation(value: Value) -> bool:
    return isinstance(value, Formula) and "=" in value.latex


def _has_base(value: Value) -> bool:
    """Return whether a numeral of another base stands here: algebra would drop the base."""
    return isinstance(value, Formula) and _BASED.fullmatch(value.latex) is not None


def _compare_groups(left: Group, right: Group, judge: Judge, digits: int) -> Grade:
    pair = {left.brackets, right.brackets}
    items, others = left.items, right.items
    if left.brackets in _UNORDERED and right.brackets in _UNORDERED:
        structural = _compare_unordered(items, others, judge, digits)
        unions = "∪" in pair and structural is False
        return judge(_whole(left), _whole(right)) if unions else structural
    if len(pair) == 1:
        return _compare_ordered(items, others, judge, digits)
    if "matrix" in pair:
        matrix, other = (left, right) if left.brackets == "matrix" else (right, left)
        entries = _vector(matrix)
        if other.brackets != "()" or entries is None:
            return False
        return _compare_ordered(entries, other.items, judge, digits)
    if "∪" in pair:
        return judge(_whole(left), _whole(right))
    is_sequence = pair == {"", "()"} or (pair <= {"", "()", "[]"} and len(items) != 2)
    return is_sequence and _compare_ordered(items, others, judge, digits)


def _vector(matrix: Group) -> tuple[Value, ...] | None:
    rows = [row.items for row in matrix.items if isinstance(row, Group)]
    if len(rows) == 1:
        return rows[0]
    return tuple(row[0] for row in rows) if all(len(row) == 1 for row in rows) else None


def _compare_group_with_one(left: Value, right: Value, judge: Judge, digits: int) -> Grade:
    group, one = (left, right) if isinstance(left, Group) else (right, left)
    assert isinstance(group, Group)
    if isinstance(one, Words):
        return False
    if group.decimal is not None and isinstance(one, Number):
        return are_equal_numbers(group.decimal, one, digits)
    if len(group.items) == 1:
        only = group.items[0]
        pair = (only, right) if group is left else (left, only)
        return compare(*pair, judge, digits)
    if isinstance(one, Number) and group.brackets not in (":", "matrix", "∪"):
        return False
    return judge(_whole(left), _whole(right))


def _compare_ordered(
    items: Sequence[Value], others: Sequence[Value], judge: Judge, digits: int
) -> Grade:
    if len(items) != len(others):
        return False
    pairs = zip(items, others, strict=True)
    return _all(compare(item, other, judge, digits) for item, other in pairs)


def _compare_unordered(
    items: Sequence[Value], others: Sequence[Value], judge: Judge, digits: int
) -> Grade:
    """Compare as sets, except that answers with the same names are compared name by name."""
    named, other_named = _by_name(items), _by_name(others)
    if len(named) > 1 and named.keys() == other_named.keys():
        pairs = ((named[label], other_named[label]) for label in named)
        return _all(compare(item, other, judge, digits) for item, other in pairs)
    items, others = _bare(items), _bare(others)
    covered = (_any(compare(item, other, judge, digits) for other in others) for item in items)
    covering = (_any(compare(item, other, judge, digits) for item in items) for other in others)
    return _all(chain(covered, covering))


def _by_name(items: Sequence[Value]) -> dict[str, Value]:
    named = {item.label: item.value for item in items if isinstance(item, Labelled)}
    return named if len(named) == len(items) else {}


def _bare(items: Sequence[Value]) -> list[Value]:
    return [item.value if isinstance(item, Labelled) else item for item in items]
