"""From rows of trees files to step trees: steps merged and counted, what is no tree refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from system2.core import Problem, Tokens, UserError
from system2.engine.steps import StepEnds
from system2.engine.tokenizer import Tokenizer
from system2.store import tree_row
from system2.synthesise.searched import Searched, searched, step_stop_of, step_tree
from system2.tree import ROOT, Tree

PROBLEM = Problem("p", "Tom has 3 + 4 apples.", "7", "word_problems")
END = "<|end|>"


def row_of(tokenizer: Tokenizer, *nodes: tuple[int, str, bool | None]) -> dict[str, Any]:
    """Return the row of a tree of (parent, text, grade); only what ends is terminal."""
    tree = Tree(PROBLEM, 0, tokenizer.prompt(PROBLEM.prompt))
    attempts: dict[int, tuple[str | None, bool | None]] = {}
    for parent, text, grade in nodes:
        tokens = tokenizer.encode(text)
        is_end = text.endswith(END)
        node = tree.add(parent, tokens, (0.0,) * len(tokens), terminal=is_end)
        if is_end:
            attempts[node] = (None, grade)
    row = tree_row(
        tree,
        text=tokenizer.decode,
        answer=None,
        grade=None,
        positions_computed=0,
        attempts=attempts,
    )
    return json.loads(json.dumps(row))


def read(tokenizer: Tokenizer, *nodes: tuple[int, str, bool | None]) -> Searched:
    (found,) = searched([row_of(tokenizer, *nodes)], tokenizer)
    return found


def test_whole_attempts_are_cut_into_steps_that_they_share(small_tokenizer: Tokenizer) -> None:
    found = read(
        small_tokenizer,
        (ROOT, f"3 + 4\nis 7\n{END}", True),
        (ROOT, f"3 + 4\nis 8{END}", False),
        (ROOT, "3 + 4\nis", None),
    )
    tree = step_tree(found, StepEnds(small_tokenizer, step_stop_of(PROBLEM)))
    texts = [small_tokenizer.decode(c, with_special=True) for c in tree.completions]
    assert texts == [
        "",
        "3 + 4\n",
        "3 + 4\nis 7\n",
        f"3 + 4\nis 7\n{END}",
        f"3 + 4\nis 8{END}",
        "3 + 4\nis",
    ]
    assert tree.parents == [None, 0, 1, 2, 1, 1]
    assert tree.rewards == [None, None, None, 1.0, 0.0, None]
    assert tree.counts == [1.0, 3.0, 1.0, 1.0, 1.0, 1.0]
    assert tree.leaves() == [3, 4, 5]
    assert tree.path(3) == [0, 1, 2, 3]
    assert tree.tokens(1) == small_tokenizer.prompt(PROBLEM.prompt) + tree.completions[1]


def test_a_search_by_steps_gives_the_same_tree(small_tokenizer: Tokenizer) -> None:
    found = read(
        small_tokenizer,
        (ROOT, "3 + 4\n", None),
        (ROOT, "3 + 4\n", None),  # drawn again, and not gone on from
        (1, "is 7\n", None),
        (1, f"is 8{END}", False),
        (3, END, True),
        (3, END, None),  # could not be judged
    )
    tree = step_tree(found, StepEnds(small_tokenizer, "\n"))
    assert tree.parents == [None, 0, 1, 1, 2]
    assert tree.counts == [1.0, 2.0, 1.0, 1.0, 2.0]
    assert tree.rewards == [None, None, None, 0.0, 1.0]
    assert [a.is_right for a in found.attempts()] == [False, True]


def test_attempts_that_hold_nothing_say_nothing_of_the_problem(small_tokenizer: Tokenizer) -> None:
    row = row_of(small_tokenizer, (ROOT, END, True))
    row["nodes"][1] |= {"tokens": [], "text": ""}
    (found,) = searched([row], small_tokenizer)
    tree = step_tree(found, StepEnds(small_tokenizer, "\n"))
    assert tree.rewards == [None]


def _tokens(*tokens: object) -> Callable[[dict[str, Any]], Any]:
    return lambda row: row["nodes"][1].update(tokens=list(tokens))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (_tokens(5, 6), "another tokenizer"),
        (_tokens("a"), "not a tree's row"),
        (_tokens(-1), "not a tree's row"),
        (_tokens(True), "not a tree's row"),
        (_tokens(1.5), "not a tree's row"),
        (_tokens(10**12), "not a tree's row"),
        (lambda row: row["nodes"][1].update(tokens=7), "not a tree's row"),
        (lambda row: row["nodes"][1].pop("terminal"), "not a tree's row"),
        (lambda row: row["nodes"][1].update(parent=-1), "not a tree's row"),
        (lambda row: row["nodes"][1].update(parent=1), "not a tree's row"),
        (lambda row: row["nodes"][1].update(parent=None), "not a tree's row"),
        (lambda row: row["nodes"][1].update(parent=True), "not a tree's row"),
        (lambda row: row.update(nodes={"a": 1}), "not a tree's row"),
        (lambda row: row.update(nodes=[[]]), "not a tree's row"),
        (lambda row: row.pop("nodes"), "not a tree's row"),
        (lambda row: row["problem"].pop("prompt"), "needs the text"),
        (lambda row: row.update(problem=None), "not a tree's row"),
    ],
)
def test_a_row_that_is_no_tree_is_named(
    spoil: Callable[[dict[str, Any]], Any], named: str, small_tokenizer: Tokenizer
) -> None:
    good, row = (row_of(small_tokenizer, (ROOT, f"3{END}", True)) for _ in range(2))
    _ = spoil(row)
    with pytest.raises(UserError, match=f"trees.jsonl, tree 2: .*{named}") as caught:
        list(searched([good, row], small_tokenizer, "trees.jsonl"))
    assert "\n" not in str(caught.value)


def test_a_grade_that_is_none_is_no_grade(small_tokenizer: Tokenizer) -> None:
    row = row_of(small_tokenizer, (ROOT, f"3{END}", True))
    row["nodes"][1]["grade"] = "yes"
    (found,) = searched([row], small_tokenizer)
    assert found.attempts() == []


def test_tokens_of_a_search_are_its_own(small_tokenizer: Tokenizer) -> None:
    found = read(small_tokenizer, (ROOT, "3 +", None), (1, f" 4{END}", True))
    whole: Tokens = small_tokenizer.encode("3 +") + small_tokenizer.encode(f" 4{END}")
    assert found.nodes[2].completion == whole
    assert found.nodes[2].num_added == len(whole) - len(small_tokenizer.encode("3 +"))
