"""A tree of a file as an outline that a person can read: our trees files, Tree-of-Thoughts logs.

`system2 show` prints it. A file is not trusted: what is no tree is refused by name, and of what
the texts hold only what can be printed gets through, so that no text can act on a terminal.
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from system2.core import UserError
from system2.store import Row, problem_of, read_trees
from system2.synthesise.tot_logs import read_tot_log


@dataclass(frozen=True, slots=True)
class Thought:
    """One node: the text it adds, and what is known of it.

    `parent` is an index of the same outline, None for the root. `value` None: not scored. `grade`
    None: not judged; `is_answer` says that it ends in the answer that was selected; `is_dropped`
    that the search is known not to have gone on from it.
    """

    parent: int | None
    depth: int
    text: str
    value: float | None
    terminal: bool
    grade: bool | None
    is_answer: bool
    is_dropped: bool


@dataclass(frozen=True, slots=True)
class Outline:
    """One problem's tree, its texts fit to be printed."""

    problem: str
    prompt: str
    answer: str | None
    grade: bool | None
    thoughts: tuple[Thought, ...]


def open_trees(path: str | os.PathLike[str]) -> Iterator[Row]:
    """Yield the rows of a trees file or of a Tree-of-Thoughts log, whichever it is.

    Raises: `UserError` where it is neither, `OSError` where it cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    return read_tot_log(path) if start.startswith(b"[") else read_trees(path)[1]


def find_tree(rows: Iterable[Row], wanted: str) -> tuple[int, Row]:
    """Return the tree of a problem's id or, from 0, its number in the file, and that number.

    Raises: `UserError` where there is none.
    """
    is_number = wanted.isascii() and wanted.isdecimal() and len(wanted) < 19
    number, count = int(wanted) if is_number else None, 0
    numbered: tuple[int, Row] | None = None
    for count, row in enumerate(rows, start=1):
        problem: object = row.get("problem")
        if isinstance(problem, dict) and cast(Row, problem).get("id") == wanted:
            return count - 1, row
        if count - 1 == number:
            numbered = count - 1, row
            break
    if numbered is None:
        raise UserError(f"no tree {wanted[:60]!r}; the file holds {count}, numbered from 0")
    return numbered


def outline(row: Mapping[str, Any], where: str) -> Outline:
    """Return the outline of a row. Raises: `UserError` that starts with `where`."""
    problem: object = row.get("problem")
    nodes: object = row.get("nodes")
    if not isinstance(problem, dict) or not isinstance(nodes, list) or not nodes:
        raise UserError(f'{where}: no tree; it needs a "problem" and a list of "nodes"')
    asked = problem_of(cast(Row, problem), where)
    answer: object = row.get("answer")
    thoughts: list[Thought] = []
    for index, node in enumerate(cast("list[object]", nodes)):
        if not isinstance(node, dict):
            raise UserError(f"{where}, node {index}: no object")
        place = f"{where}, node {index}"
        thoughts.append(_thought(cast(Row, node), thoughts, answer, place))
    return Outline(
        problem=printable(asked.id),
        prompt=printable(asked.prompt),
        answer=None if answer is None else printable(str(answer)),
        grade=_grade(row, where),
        thoughts=tuple(thoughts),
    )


def _thought(node: Row, before: list[Thought], answer: object, where: str) -> Thought:
    parent, text, value = node.get("parent"), node.get("text", ""), node.get("value")
    if parent is None and before:
        raise UserError(f"{where}: only the first node has no parent")
    if parent is not None and (
        not isinstance(parent, int) or isinstance(parent, bool) or not 0 <= parent < len(before)
    ):
        raise UserError(f"{where}: parent is {parent!r}; it must be the index of an earlier node")
    if not isinstance(text, str):
        raise UserError(f'{where}: "text" is {text!r}; it must be a text')
    if value is not None and not _is_finite(value):
        raise UserError(f"{where}: value is {value!r}; it must be a finite number or null")
    return Thought(
        parent=parent,
        depth=0 if parent is None else before[parent].depth + 1,
        text=printable(text),
        value=None if value is None else float(value),
        terminal=node.get("terminal") is True,
        grade=_grade(node, where),
        is_answer=answer is not None and node.get("answer") == answer,
        is_dropped=node.get("kept") is False,
    )


def _is_finite(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) < 1e300 and math.isfinite(value)


def _grade(row: Mapping[str, Any], where: str) -> bool | None:
    grade: object = row.get("grade")
    if grade is None or isinstance(grade, bool):
        return grade
    raise UserError(f"{where}: grade is {grade!r}; it must be true, false or null")


def printable(text: str) -> str:
    """Return a text whose every character can be seen: others are written as escapes.

    Line breaks stay; a tab becomes a space. Escaped are a terminal's control characters, marks
    that turn the direction of writing or have no width, and halves of surrogate pairs.

    >>> printable("a\\x1b[2J")
    'a\\\\x1b[2J'
    """
    text = text.replace("\r\n", "\n").replace("\t", " ")
    return "".join(
        sign if sign == "\n" or sign.isprintable() else sign.encode("unicode_escape").decode()
        for sign in text
    )
