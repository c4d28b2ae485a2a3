"""The process that does algebra on answers, so that it can be killed: `answers_pool` starts it.

Run as `python -m system2.tasks.answers_worker`. It writes one line when it is ready, then reads
one JSON request a line and writes one JSON reply a line. It limits its own memory, and it arms a
timer before each request whose default action kills it, so that it cannot outlive its parent.
"""

import json
import os
import resource
import signal
import sys
from fractions import Fraction
from functools import lru_cache
from typing import Any, TextIO

from system2.tasks.answers_compare import compare, is_rounding_of
from system2.tasks.answers_numbers import Number
from system2.tasks.answers_values import Formula, Group, Value, read_answer

MAX_MEMORY_BYTES = 2 * 1024**3
_PRECISION = 60
_WHOLE_POINTS = ((5, 1), (3, 1), (7, 1), (2, 1), (4, 1), (6, 1))
_POINTS = ((17, 10), (-23, 10), (31, 7), (5, 11), (-13, 17), (47, 9))


class Algebra:
    """Symbolic judge of two formulas, by math-verify and by evaluation at points.

    Evaluation decides first, where it can: expressions that differ at a point are different.
    """

    def __init__(self, rounding_digits: int) -> None:
        self.rounding_digits = rounding_digits

    def __call__(self, prediction: Value, gold: Value) -> bool | None:
        """Return whether two formulas are equal; None where one of them cannot be read."""
        if isinstance(prediction, Number) and prediction.step is not None:
            return self._is_rounded(_parse(_latex(gold)), prediction)
        found, wanted = _parse(_latex(prediction)), _parse(_latex(gold))
        if found is None and isinstance(gold, Number):
            return False
        if found is None or wanted is None:
            return None
        if isinstance(gold, Number) and gold.step is not None:
            return self._is_rounded(found, gold)
        if found == wanted:
            return True
        evaluated = _evaluate(found, wanted)
        return _verify(found, wanted) if evaluated is None else evaluated

    def _is_rounded(self, exact: Any, decimal: Number) -> bool | None:
        from sympy import Expr

        if exact is None:
            return None
        if not isinstance(exact, Expr) or exact.free_symbols:
            return False
        value = exact.evalf(_PRECISION)
        if not value.is_Float and not value.is_Rational:
            return False
        near = Fraction(str(value))
        if near == decimal.value or abs(near - decimal.value) < abs(near) / 10**40:
            return True
        return is_rounding_of(decimal, near, near, self.rounding_digits)


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
    """Return the sympy object of a formula, None where it cannot be read."""
    from latex2sympy2_extended import latex2sympy
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig
    from math_verify.grader import should_treat_as_complex
    from sympy import Float, I, Rational, Symbol

    if not latex:
        return None
    is_complex = should_treat_as_complex(latex)
    try:
        parsed = latex2sympy(
            latex,
            is_real=not is_complex,
            convert_degrees=False,
            normalization_config=None,
            conversion_config=ConversionConfig(lowercase_symbols=False),
        )
        if is_complex:
            imaginary = [s for s in parsed.free_symbols if s.name == "i"]
            parsed = parsed.subs(dict.fromkeys(imaginary or [Symbol("i")], I))
        parsed = parsed.xreplace({f: Rational(str(f)) for f in parsed.atoms(Float)})
    except Exception:  # the parser raises bare Exception on bad syntax
        return None
    return parsed


def _evaluate(left: Any, right: Any) -> bool | None:
    """Return whether two expressions agree at every point of a few; None where none tells."""
    from sympy import Expr, Product, Rational, Sum, binomial, factorial, nan, oo, zoo

    if not isinstance(left, Expr) or not isinstance(right, Expr):
        return None
    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    counted = (Sum, Product, factorial, binomial)
    points = _WHOLE_POINTS if left.has(*counted) or right.has(*counted) else _POINTS
    agreed = 0
    for offset in range(len(points) if symbols else 1):
        point = {
            symbol: Rational(*points[(offset + index) % len(points)]) + index
            for index, symbol in enumerate(symbols)
        }
        try:
            a, b = (side.subs(point).evalf(_PRECISION) for side in (left, right))
            if a.has(oo, -oo):
                return bool(a == b)
            if a.has(nan, zoo) or b.has(nan, zoo) or not (a.is_number and b.is_number):
                continue
            gap = abs(a - b).evalf(_PRECISION)
            bound = (abs(a) + abs(b) + 1).evalf(_PRECISION) * Rational(1, 10**30)
            if not gap.is_comparable or not bound.is_comparable:
                continue
        except (TypeError, ValueError, ArithmeticError, AttributeError):
            continue
        if gap > bound:
            return False
        agreed += 1
    return True if agreed else None


def _verify(left: Any, right: Any) -> bool:
    from math_verify import verify

    return bool(
        verify(left, right, timeout_seconds=None, allow_set_relation_comp=True)
        or verify(right, left, timeout_seconds=None, allow_set_relation_comp=True)
    )


def judge(request: dict[str, Any]) -> bool | None:
    """Return the grade of one request: `prediction`, `gold`, `rounding_digits`."""
    digits = int(request["rounding_digits"])
    prediction, gold = read_answer(request["prediction"]), read_answer(request["gold"])
    return compare(prediction, gold, Algebra(digits), digits)


def _greeting() -> dict[str, Any]:
    """Load what is needed and say whether the process can work."""
    try:
        import latex2sympy2_extended
        import math_verify
        from antlr4 import __name__ as _
    except ImportError as error:
        return {"missing": str(error)}
    from importlib.metadata import version

    del latex2sympy2_extended, math_verify
    antlr = version("antlr4-python3-runtime")
    if not antlr.startswith("4.13."):
        return {"refused": f"antlr4-python3-runtime is {antlr}"}
    _parse(r"\frac{1}{2}+x")
    return {"ready": antlr}


def _serve(requests: TextIO, replies: TextIO) -> None:
    def reply(message: object) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    greeting = _greeting()
    reply(greeting)
    if "ready" not in greeting:
        return
    for line in requests:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, request["timeout_s"] + 5)
        try:
            grade = judge(request)
        except MemoryError:
            return  # a fresh process is safer than one that ran out of memory
        except Exception:  # whatever algebra raises, the answer could not be judged
            grade = None
        signal.setitimer(signal.ITIMER_REAL, 0)
        reply(grade)


def main() -> None:
    """Serve until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    # A library that prints must not be able to forge a reply.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _serve(sys.stdin, replies)


if __name__ == "__main__":
    main()
