"""Where a text states its answer."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.tasks.statements import final_statement

plain = st.text("abc 123.,+\n", min_size=1, max_size=20).filter(str.strip)


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ("no statement here", None),
        ("The answer is 5.", "5."),
        ("ANSWER: 5\nthat is all", "5"),
        ("So the answer is:\n\n5 + 3\nthat is all", "5 + 3"),
        ("answer is", ""),
        ("<answer>a</answer><answer>b</answer> then", "b"),
        ("<answer>\n1 2\n3 4\n</answer>", "1 2\n3 4"),
        ("<answer>cut off", "cut off"),
        ("\\boxed{a{b}c} \\boxed{\\frac{1}{2}} end", "\\frac{1}{2}"),
        ("\\boxed{never closed", ""),
        ("The answer is \\boxed{4}.", "4"),
        ("\\boxed{4}, so the answer is 5", "5"),
        ("<answer>\\boxed{4}</answer>", "4"),
        ("the answer is <answer>6</answer>", "6"),
        ("an answerable question", None),
    ],
)
def test_known_texts(text: str, statement: str | None) -> None:
    assert final_statement(text) == statement


@given(st.text(max_size=100), plain)
def test_the_last_tag_wins_over_all_before_it(before: str, answer: str) -> None:
    assert final_statement(f"{before}<answer>{answer}</answer>") == answer.strip()


@given(plain)
def test_text_that_states_nothing_has_none(text: str) -> None:
    assert final_statement(text) is None


@pytest.mark.parametrize("unit", ["<answer>", "\\boxed{", "answer is ", "answer:", "{", "\n"])
def test_long_texts_are_read_in_linear_time(unit: str) -> None:
    begin = time.perf_counter()
    final_statement(unit * 200_000)
    assert time.perf_counter() - begin < 2
