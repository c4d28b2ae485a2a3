"""The notation of expressions, against Python's own parser and under hostile input."""

import ast
import time
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.tasks.expressions import (
    MAX_DEPTH,
    MAX_LENGTH,
    Expression,
    Operation,
    evaluate,
    leaves,
    normal_form,
    parse,
    render,
)


def operations(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    joined = st.builds(Operation, inner, st.sampled_from("+-*/"), inner)
    # The sign of a number is part of the number.
    negated = st.builds(
        Operation, st.none(), st.just("-"), inner.filter(lambda e: type(e) is not int)
    )
    return st.one_of(joined, joined, negated)


expressions = st.recursive(st.integers(0, 99), operations, max_leaves=8)


def python_value(text: str) -> Fraction | None:
    """Evaluate with exact fractions what Python's parser reads; None: division by zero."""

    def value(node: ast.expr) -> Fraction:
        match node:
            case ast.Constant(value=int(number)):
                return Fraction(number)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -value(operand)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return value(left) + value(right)
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return value(left) - value(right)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return value(left) * value(right)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return value(left) / value(right)
            case _:
                raise AssertionError(ast.dump(node))

    try:
        return value(ast.parse(text, mode="eval").body)
    except ZeroDivisionError:
        return None


def our_value(expression: Expression) -> Fraction | None:
    try:
        return evaluate(expression)
    except ZeroDivisionError:
        return None


def signless(expression: Expression) -> Counter[int]:
    return Counter(map(abs, leaves(expression)))


@given(expressions)
def test_reading_undoes_writing(expression: Expression) -> None:
    assert parse(render(expression)) == expression


@given(expressions)
def test_values_agree_with_pythons_parser(expression: Expression) -> None:
    assert our_value(expression) == python_value(render(expression))


@given(expressions)
def test_the_normal_form_keeps_value_and_numbers(expression: Expression) -> None:
    text = normal_form(expression)
    again = parse(text)
    assert again is not None
    if our_value(expression) is not None:
        assert our_value(again) == our_value(expression)
    assert signless(again) == signless(expression)
    if "-" not in text:
        assert normal_form(again) == text


@given(expressions, expressions, st.sampled_from("+*"))
def test_the_normal_form_forgets_order(a: Expression, b: Expression, op: str) -> None:
    assert normal_form(Operation(a, op, b)) == normal_form(Operation(b, op, a))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("12×3", "12 * 3"),
        ("12 ÷ 3", "12 / 3"),
        ("12 − 3", "12 - 3"),
        (r"12 \times 3", "12 * 3"),
        (r"12 \cdot 3 \div 4", "12 * 3 / 4"),
        (r"\left(12 - 7\right) \times 3", "(12 - 7) * 3"),
        (r"\frac{12}{3} + 1", "12 / 3 + 1"),
        (r"\dfrac{12 - 3}{3}", "(12 - 3) / 3"),
        ("[12 - 7] * {3}", "(12 - 7) * 3"),
        ("12\n+\t3", "12 + 3"),
        ("-(12 - 3)", "-(12 - 3)"),
    ],
)
def test_other_notations_are_read(text: str, plain: str) -> None:
    expression = parse(text)
    assert expression is not None
    assert render(expression) == plain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12 +",
        "* 12",
        "+12",
        "(12",
        "12)",
        "(12]",
        "()",
        "12 3",
        "3(4)",
        "(3)(4)",
        "2 ** 3",
        "2 ^ 3",
        "7 // 2",
        "7 % 2",
        "5!",
        "1.5 + 2",
        "1_0",
        "1e3",
        "0x10",
        "x + 1",
        "abs(3)",
        "٣ + 4",
        r"\frac12",
        r"\frac{1}",
        r"\sqrt{4}",
        "__import__('os')",
        "12 + 3\0",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "(" * 100_000 + "1" + ")" * 100_000,
        "-" * 100_000 + "1",
        r"\frac{" * 100_000,
        "1+" * 100_000 + "1",
        "9" * 1_000_000,
        "(" * (MAX_DEPTH + 1) + "1" + ")" * (MAX_DEPTH + 1),
        "1" + "+1" * MAX_LENGTH,
    ],
    ids=lambda text: f"{text[:6]}...{len(text)}",
)
def test_hostile_texts_are_refused_at_once(text: str) -> None:
    begin = time.perf_counter()
    assert parse(text) is None
    assert time.perf_counter() - begin < 0.1


@pytest.mark.parametrize(
    "text",
    [
        "1" + "+1" * (MAX_LENGTH // 2 - 1),
        "(" * (MAX_DEPTH - 1) + "1" + ")" * (MAX_DEPTH - 1),
        "-(" * (MAX_DEPTH // 2 - 1) + "1" + ")" * (MAX_DEPTH // 2 - 1),
    ],
)
def test_the_largest_that_is_read_can_be_worked_with(text: str) -> None:
    expression = parse(text)
    assert expression is not None
    assert abs(evaluate(expression)) == sum(map(abs, leaves(expression)))
    assert render(expression).replace(" ", "") == normal_form(expression).replace(" ", "")
