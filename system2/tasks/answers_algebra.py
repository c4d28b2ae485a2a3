"""Judge two formulas by algebra, with math-verify's parser and comparison: slow, and may hang.

Only `answers_worker` imports this, in a process that can be killed. Expressions are first
evaluated at a few points to 60 digits: where they differ they are different, and agreement at all
of them is equality. Only what has no value at a point (equations, sets, relations, matrices) is
left to math-verify's `verify`.
"""

import re
from fractions import Fraction
from functools import lru_cache
from importlib import import_module
from typing import Any

from system2.tasks.answers_compare import Judge, is_rounding_of
from system2.tasks.answers_numbers import Number
from system2.tasks.answers_values import Formula, Group, Value

# As `Any`: these libraries carry no usable types.
sympy: Any = import_module("sympy")
latex2sympy: Any = import_module("latex2sympy2_extended.latex2sympy2")
grader: Any = import_module("math_verify.grader")

_IMAGINARY = re.compile(r"(?<![a-zA-Z\\])i(?![a-zA-Z])")
_INDEX = re.compile(r"_\{?i|i=")
_DIGITS = 60
_SAFE_DIGITS = 50
_MOST_DIGITS = 1_000
_NEGLIGIBLE = sympy.Rational(1, 10**40)  # what is zero evaluates to some 10**-190
_POINTS = ((17, 10), (-23, 10), (31, 7), (5, 11), (-13, 17), (47, 9))
_WHOLE_POINTS = ((5, 1), (3, 1), (7, 1), (2, 1), (4, 1), (6, 1))
_COUNTING = (sympy.Sum, sympy.Product, sympy.factorial, sympy.binomial)
_CONVERSION = latex2sympy.ConversionConfig(lowercase_symbols=False)


def algebra(rounding_digits: int) -> Judge:
    """Return a judge that does algebra, with the rounding rule at so many significant digits."""

    def judge(prediction: Value, gold: Value) -> bool | None:
        if isinstance(prediction, Number) and prediction.step is not None:
            return _is_rounded(_parse(_latex(gold)), prediction, rounding_digits)
        found, wanted = _parse(_latex(prediction)), _parse(_latex(gold))
        if found is None or wanted is None:
            return None if wanted is None else False
        if isinstance(gold, Number) and gold.step is not None:
            return _is_rounded(found, gold, rounding_digits)
        if found == wanted:
            return True
        agree = _agree_at_points(found, wanted)
        return _verify(found, wanted) if agree is None else agree

    return judge


def _latex(value: Value) -> str:
    match value:
        case Number():
            return f"\\frac{{{value.value.numerator}}}{{{value.value.denominator}}}"
        case Formula(latex) | Group(latex=latex):
            return latex
        case _:
            return ""


@lru_cache(maxsize=64)
def _parse(latex: str) -> Any:
    """Return the sympy object of a formula, decimals exact; None where it cannot be read."""
    is_complex = bool(_IMAGINARY.search(latex)) and not _INDEX.search(latex)
    try:
        parsed = latex2sympy.latex2sympy(
            latex,
            is_real=not is_complex,
            normalization_config=None,
            conversion_config=_CONVERSION,
        )
        if is_complex:
            imaginary = [symbol for symbol in parsed.free_symbols if symbol.name == "i"]
            parsed = parsed.subs(dict.fromkeys(imaginary, sympy.I))
        decimals = parsed.atoms(sympy.Float)
        return parsed.xreplace({decimal: sympy.Rational(str(decimal)) for decimal in decimals})
    except MemoryError:
        raise
    except Exception:  # the parser raises bare Exceptions on bad syntax
        return None


def _is_rounded(exact: Any, decimal: Number, rounding_digits: int) -> bool | None:
    if exact is None:
        return None
    if not isinstance(exact, sympy.Expr) or exact.free_symbols:
        return False
    value = exact.evalf(_DIGITS)
    if not (value.is_Float or value.is_Rational):
        return False
    near = Fraction(str(value))
    if abs(near - decimal.value) <= abs(near) / 10**40:
        return True
    return is_rounding_of(decimal, near, rounding_digits)


def _agree_at_points(left: Any, right: Any) -> bool | None:
    """Return whether two expressions are equal at every point of a few; None where none tells."""
    if not isinstance(left, sympy.Expr) or not isinstance(right, sympy.Expr):
        return None
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    points = _WHOLE_POINTS if left.has(*_COUNTING) or right.has(*_COUNTING) else _POINTS
    agreed = 0
    for offset in range(len(points) if symbols else 1):
        point = {
            symbol: sympy.Rational(*points[(offset + index) % len(points)]) + index
            for index, symbol in enumerate(symbols)
        }
        agree = _agree_at(left, right, point)
        if agree is False:
            return False
        agreed += agree is True
    return True if agreed else None


def _agree_at(left: Any, right: Any, point: dict[Any, Any]) -> bool | None:
    try:
        left, right = left.subs(point), right.subs(point)
        a, b = left.evalf(_DIGITS), right.evalf(_DIGITS)
        if a.has(sympy.oo, -sympy.oo) or b.has(sympy.oo, -sympy.oo):
            return bool(a == b)
        if a.has(sympy.nan, sympy.zoo) or b.has(sympy.nan, sympy.zoo):
            return None
        gap, size = abs(a - b).evalf(_DIGITS), (abs(a) + abs(b)).evalf(_DIGITS)
        if not (gap.is_number and size.is_number):
            return None
        if gap > (size + _NEGLIGIBLE) / 10**_SAFE_DIGITS:
            return False
        if size < 10**_SAFE_DIGITS:
            return True
        if left.is_integer and right.is_integer:
            return int(left) == int(right)
        if size > 10**_MOST_DIGITS:
            return None
        digits = _DIGITS + len(str(int(size)))  # a difference of 1 is one however large they are
        return bool(abs(left.evalf(digits) - right.evalf(digits)) < _NEGLIGIBLE)
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return None


def _verify(left: Any, right: Any) -> bool:
    return any(
        grader.verify(*pair, timeout_seconds=None, allow_set_relation_comp=True)
        for pair in ((left, right), (right, left))
    )
