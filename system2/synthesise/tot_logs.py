"""Read published logs of Tree of Thoughts (arXiv 2305.10601) as rows of a trees file.

The Game of 24's logs, as princeton-nlp/tree-of-thought-llm writes them: a JSON list of an object a
puzzle. A node is a thought, one line; all that were proposed are there, in order, those that the
search went on from have "kept" true. A log of plain samples ("ys" without "steps") becomes a tree
of as many leaves. Tokens were not recorded, so that nodes have none; what they cost was.

A published value is the sum of its votes, "sure" 20, "likely" 1, "impossible" 0.001. Ours is that
sum over the highest there could be, in [0, 1], with the sum beside it as "published_value".
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from system2.core import Problem, UserError
from system2.store import Row, problem_row
from system2.tasks import game24

SURE = 20.0
"""What one vote of "sure" counts in a log."""


def read_tot_log(path: str | os.PathLike[str], *, votes: int = 3) -> Iterator[Row]:
    """Yield the row of each puzzle's tree, in order; `votes` are those that a value sums up.

    The answer is that of the final candidate ranked first, None where it has none.
    Raises: `UserError` that names the file and the puzzle (from 1) where a row is none, `OSError`
    where the file cannot be read.
    """
    if votes < 1:
        raise UserError(f"votes is {votes}; a value sums up at least 1")
    try:
        rows: object = json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise UserError(f"{path}: nested too deep to read") from None
    except ValueError as error:
        raise UserError(f"{path}: not a JSON list ({error})") from None
    if not isinstance(rows, list):
        raise UserError(f"{path}: not a JSON list of puzzles")
    spent = 0
    for number, row in enumerate(cast("list[object]", rows), start=1):
        where = f"{path}, puzzle {number}"
        if not isinstance(row, dict) or "ys" not in row:
            raise UserError(f'{where}: no row of a Tree-of-Thoughts log; it has no "ys"')
        log = cast(Row, row)
        before, spent = spent, _tokens(log, where)
        read = _searched if log.get("steps") else _sampled
        # The log's count runs on over its puzzles.
        yield {**read(log, votes, where), "sampled_tokens": max(spent - before, 0)}


def _searched(log: Row, votes: int, where: str) -> Row:
    """Return the tree of a search over thoughts."""
    steps = _list(log, "steps", where)
    if not all(isinstance(step, dict) for step in steps):
        raise UserError(f"{where}: a step is no object")
    problem = _problem(log, steps, where)
    nodes, node_of = [_node(None, "", 0)], {"": 0}
    for step in cast("list[Row]", steps):
        texts = [_text(y, "new_ys", where) for y in _list(step, "new_ys", where)]
        values = _list(step, "values", where)
        if len(texts) != len(values):
            raise UserError(f"{where}: {len(texts)} new_ys but {len(values)} values")
        kept = {_text(y, "select_new_ys", where) for y in _list(step, "select_new_ys", where)}
        bases = {_text(y, "ys", where) for y in _list(step, "ys", where)} & node_of.keys()
        new: dict[str, int] = {}
        for text, value in zip(texts, values, strict=True):
            base = max((base for base in bases if text.startswith(base)), key=len, default=None)
            if base is None:
                raise UserError(f"{where}: {text[:60]!r} goes on from nothing that was kept")
            parent = node_of[base]
            node = _node(parent, text[len(base) :], nodes[parent]["depth"] + 1)
            node |= _value(value, votes, where) | {"kept": text in kept}
            if "answer:" in node["text"].lower():
                node |= _judged(problem, text)
            _ = new.setdefault(text, len(nodes))
            nodes.append(node)
        node_of |= new
    ranked = [_text(y, "ys", where) for y in _list(log, "ys", where)]
    chosen = nodes[node_of[ranked[0]]] if ranked and ranked[0] in node_of else nodes[0]
    return _row(problem, nodes, chosen.get("answer"), chosen.get("grade", False))


def _sampled(log: Row, votes: int, where: str) -> Row:
    """Return the tree of independent samples, with the grades that were published."""
    del votes
    problem = _problem(log, [], where)
    nodes = [_node(None, "", 0)]
    texts, infos = _list(log, "ys", where), _list(log, "infos", where)
    if len(texts) != len(infos):
        raise UserError(f"{where}: {len(texts)} ys but {len(infos)} infos")
    for text, info in zip(texts, infos, strict=True):
        node = _node(0, _text(text, "ys", where), 1)
        grade = bool(cast(Row, info).get("r")) if isinstance(info, dict) else None
        answer = game24.TASK.answer_of(problem, node["text"])
        nodes.append(node | {"terminal": True, "answer": answer, "grade": grade})
    first = nodes[1] if len(nodes) > 1 else nodes[0]
    return _row(problem, nodes, first.get("answer"), first.get("grade", False))


def _row(problem: Problem, nodes: list[Row], answer: object, grade: object) -> Row:
    return {
        "problem": problem_row(problem),
        "seed": None,
        "nodes": nodes,
        "answer": answer,
        "grade": grade,
        "positions_computed": None,
    }


def _node(parent: int | None, text: str, depth: int) -> Row:
    return {
        "parent": parent,
        "tokens": [],
        "text": text,
        "logprobs": [],
        "depth": depth,
        "terminal": False,
        "value": None,
    }


def _judged(problem: Problem, text: str) -> Row:
    return {
        "terminal": True,
        "answer": game24.TASK.answer_of(problem, text),
        "grade": game24.grade(problem, text),
    }


def _problem(log: Row, steps: list[Row], where: str) -> Problem:
    """Return the puzzle, which a log of samples knows by its place in the published list only."""
    index = log.get("idx")
    hand = str(steps[0].get("x", "")) if steps else ""
    if not hand:
        return Problem(f"puzzle-{index}", f"Game of 24, puzzle {index}", "", game24.NAME)
    words = hand.split()
    if not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in words):
        raise UserError(f"{where}: the hand {hand[:60]!r} is no list of whole numbers")
    problem = game24.hand_problem([int(word) for word in words]) if len(words) == 4 else None
    if problem is None:
        raise UserError(f"{where}: the hand {hand[:60]!r} has no solution")
    return problem


def _value(value: object, votes: int, where: str) -> Row:
    most = SURE * votes
    if not isinstance(value, int | float) or not 0 <= value <= most:
        raise UserError(
            f"{where}: the value {value!r:.60} is no sum of {votes} votes in 0..{most:g}; "
            "say how many votes there are"
        )
    return {"value": value / most, "published_value": value}


def _tokens(log: Mapping[str, Any], where: str) -> int:
    """Return the sampled tokens up to a row, 0 where the log does not say."""
    usage: object = log.get("usage_so_far")
    count: object = cast(Row, usage).get("completion_tokens", 0) if isinstance(usage, dict) else 0
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise UserError(f"{where}: completion_tokens is {count!r}; it must be a whole number >= 0")
    return count


def _list(row: Mapping[str, Any], name: str, where: str) -> list[Any]:
    value: object = row.get(name)
    if not isinstance(value, list):
        raise UserError(f'{where}: needs the list "{name}"')
    return cast("list[Any]", value)


def _text(value: object, name: str, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f'{where}: "{name}" holds {value!r}; it must hold texts')
    return value
