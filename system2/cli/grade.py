"""`system2 grade`: judge answers against the truth."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

from system2.cli.options import Json
from system2.cli.terminal import finish, progress
from system2.core import Problem, UserError

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Check:
    """How to judge rows: `read` takes out what is judged, `judge` grades it, in order.

    `read` raises `UserError`, starting with the place it is given, on a row that cannot be judged.
    """

    read: Callable[[Row, str], Any]
    judge: Callable[[Iterable[Any]], Iterator[bool | None]]


def grade(source: Path, /, *, out: Path, task: str | None = None, json: Json = False) -> None:
    """Write the rows of a JSONL file again, in order, with "grade": true, false or null.

    Null means that it cannot be judged. Rows hold "prediction" and "gold", both texts; with
    --task countdown they hold "numbers", "target" and "prediction", an expression (game24 needs
    no "target").

    Parameters
    ----------
    source
        The JSONL file to read.
    out
        The JSONL file to write; its manifest is written beside it.
    task
        The task whose own check judges; without it final answers are compared.
    """
    from system2.store import Journal, located_rows, make_manifest, write_manifest
    from system2.tasks.answers import checker_versions
    from system2.tasks.answers_pool import close

    check = _check(task)
    rows: list[Row] = []
    asked: list[Any] = []
    for where, row in located_rows(source):
        rows.append(row)
        asked.append(check.read(row, where))
    manifest = make_manifest("grade", {"task": task}, data=[source], versions=checker_versions())
    config = {"task": task, "data": manifest.data_hash, "versions": dict(manifest.versions)}
    with Journal(out, config) as journal:
        done, counts = len(journal), Counter(row["grade"] for row in journal)
        verdicts = progress(check.judge(asked[done:]), "grading", total=len(rows), done=done)
        try:
            for row, verdict in zip(rows[done:], verdicts, strict=True):
                journal.append({**row, "grade": verdict})
                counts[verdict] += 1
        except KeyboardInterrupt:
            close()  # algebra that is under way is not waited for
            raise
        write_manifest(out, manifest)
        journal.finish()
    right, wrong, unjudged = counts[True], counts[False], counts[None]
    result = {"n": len(rows), "right": right, "wrong": wrong, "unjudged": unjudged, "out": str(out)}
    finish(f"{right} right, {wrong} wrong, {unjudged} unjudged: {out}", result, as_json=json)


def _check(task: str | None) -> _Check:
    if task is None:
        from system2.tasks.answers import grade_answers

        return _Check(_read_answers, grade_answers)
    if task == "countdown":
        from system2.tasks import countdown

        return _Check(_read_countdown, lambda asked: (countdown.check(*each) for each in asked))
    if task == "game24":
        from system2.tasks import game24

        return _Check(_read_game24, lambda asked: (game24.check(*each) for each in asked))
    from system2.tasks import find_task

    found = find_task(task)
    return _Check(
        lambda row, where: (_read_problem(row, where, task), _text(row, "prediction", where)),
        lambda asked: (found.grade(problem, text) for problem, text in asked),
    )


def _read_answers(row: Row, where: str) -> tuple[str, str]:
    return _text(row, "prediction", where), _text(row, "gold", where)


def _read_countdown(row: Row, where: str) -> tuple[list[int], int, str]:
    numbers, target = _numbers(row, where), row.get("target")
    if not _is_whole(target):
        raise UserError(f'{where}: needs "target", a whole number')
    return numbers, cast(int, target), _text(row, "prediction", where)


def _read_game24(row: Row, where: str) -> tuple[list[int], str]:
    """Read a hand, which a problem as `system2 problems` writes it holds in its metadata."""
    metadata: object = row.get("metadata")
    if isinstance(metadata, dict) and "numbers" not in row:
        return _numbers(cast(Row, metadata), where), _text(row, "prediction", where)
    return _numbers(row, where), _text(row, "prediction", where)


def _numbers(row: Row, where: str) -> list[int]:
    numbers = row.get("numbers")
    if not isinstance(numbers, list) or not all(map(_is_whole, cast(list[object], numbers))):
        raise UserError(f'{where}: needs "numbers", a list of whole numbers')
    return cast(list[int], numbers)


def _read_problem(row: Row, where: str, task: str) -> Problem:
    """Read a problem whose answer is called "gold" or, as `system2 problems` writes, "answer"."""
    metadata: object = row.get("metadata", {})
    if not isinstance(metadata, dict):
        raise UserError(f'{where}: its "metadata" is no object')
    answer = _text(row, "gold" if "gold" in row else "answer", where)
    prompt, name = str(row.get("prompt", "")), str(row.get("id", where))
    return Problem(name, prompt, answer, task, cast(dict[str, Any], metadata))


def _text(row: Row, name: str, where: str) -> str:
    """Return a field as text; a bare number is one too."""
    value: object = row.get(name)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(f'{where}: needs "{name}", a text or a number')


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
