"""Summaries of trees against the figures worked out by hand."""

import doctest
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import UserError
from system2.evaluate import trees
from system2.evaluate.metrics import wilson_interval
from system2.evaluate.trees import powers_up_to, summarise


def tree(grade, attempts=(), *, tokens=10, positions=30):
    """Return a tree of a root and one leaf an attempt, an `(answer, grade, value)` each."""
    root = {"parent": None, "tokens": [], "terminal": False, "value": None}
    leaves = [
        {"parent": 0, "terminal": True, "answer": answer, "grade": right, "value": value}
        for answer, right, value in attempts
    ]
    return {
        "problem": {"id": "p"},
        "nodes": [root, *leaves],
        "grade": grade,
        "sampled_tokens": tokens,
        "positions_computed": positions,
    }


def test_doctests():
    assert doctest.testmod(trees).failed == 0


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.integers(0, 99)), max_size=20))
def test_every_tree_is_counted_once(cases):
    summary = summarise(tree(grade, tokens=tokens) for grade, tokens in cases)
    judged = [grade for grade, _ in cases if grade is not None]
    assert summary["n"] == len(cases) == len(judged) + summary["unjudged"]
    assert summary["sampled_tokens"] == sum(tokens for _, tokens in cases)
    if judged:
        assert summary["accuracy"] == sum(judged) / len(judged)
        assert (summary["low"], summary["high"]) == wilson_interval(sum(judged), len(judged))
    else:
        assert summary["accuracy"] is None
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_attempts_give_curves():
    """One problem solved by the vote, one by the verifier alone."""
    voted = [("4", True, 0.2), ("4", True, 0.3), ("5", False, 0.9), ("6", False, 0.1)]
    scored = [("1", False, 0.2), ("1", False, 0.3), ("1", False, 0.1), ("7", True, 0.8)]
    summary = summarise([tree(True, voted), tree(True, scored)])
    assert summary["attempts"] == 4
    assert summary["attempt_accuracy"]["accuracy"] == pytest.approx(3 / 8)

    def curve(name):
        return {point["k"]: point["accuracy"] for point in summary[name]}

    assert curve("pass_at_k") == pytest.approx({1: 3 / 8, 2: (5 / 6 + 1 / 2) / 2, 4: 1.0})
    assert curve("majority_at_k")[4] == curve("best_of_k")[4] == 0.5
    assert curve("best_of_k")[1] == pytest.approx(3 / 8)
    assert curve("weighted_majority_at_k")[4] == 0.5


def test_curves_stop_where_a_tree_has_no_more_attempts():
    three, two = [("4", True, None)] * 3, [("4", None, None)] * 2
    summary = summarise([tree(True, three), tree(None, two)])
    assert [point["k"] for point in summary["pass_at_k"]] == [1, 2]
    assert summary["pass_at_k"][0]["unjudged"] == 1
    assert "best_of_k" not in summary
    assert "pass_at_k" not in summarise([tree(True, three), tree(True)])


def test_unknown_positions_stay_unknown():
    summary = summarise([tree(True), tree(False, positions=None)])
    assert summary["positions_computed"] is None
    assert summary["positions_per_token"] is None
    assert summary["tokens_per_right"] == 20


@given(st.integers(1, 10_000))
def test_powers_rise_to_the_limit(limit):
    powers = powers_up_to(limit)
    assert powers[-1] == limit
    assert all(math.log2(power).is_integer() for power in powers[:-1])
    assert powers == sorted(set(powers))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grade": "yes"}, "tree 2: grade is 'yes'"),
        ({"sampled_tokens": -1}, "tree 2: sampled_tokens is -1"),
        ({"sampled_tokens": True}, "tree 2: sampled_tokens is True"),
        ({"nodes": 3}, "tree 2: 'nodes' is not a list"),
        ({"nodes": [{"grade": True, "value": math.nan}]}, "tree 2: value is nan"),
    ],
)
def test_a_row_that_is_no_tree_is_named(change, message):
    with pytest.raises(UserError, match=message):
        summarise([tree(True), tree(True) | change])


def test_a_missing_key_is_named():
    with pytest.raises(UserError, match="tree 1 has no 'grade'"):
        summarise([{"nodes": []}])
