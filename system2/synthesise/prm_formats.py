"""Step labels in the formats of others: PRM800K, Math-Shepherd, ProcessBench, MATH-APS.

Place in the flow: their files -> `LabelledSolution`s, as `step_values` makes them, one at a time;
and back. A format's steps stand apart, so `STEP_STOP` is put between them to make a text, and
taken away again where one is written.

- `prm800k` (openai/prm800k, arXiv 2305.20050): human ratings, -1, 0 and 1 as values 0, 0.5 and 1.
  A row is its chosen path, and one solution more for each other rated completion, of which only
  the last step has a value. A person's own completion is known by no rating.
- `math-shepherd` (peiyi9979/Math-Shepherd, arXiv 2312.08935): "+" and "-" in the place of a mark.
  Written, a step is "+" where any rollout came right, as theirs.
- `processbench` (Qwen/ProcessBench, arXiv 2412.06559): the first wrong step, -1 where none is; what
  comes after it is not known. Written, a step of a value below one half is wrong. Its files
  are one JSON list or JSON lines; both are read as a stream.
- `math-aps` (openreasoner/openr's samples of arXiv 2406.06592): Monte-Carlo values, of prefixes or
  of a tree's nodes; read only.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

from system2.core import Problem, UserError
from system2.store import Manifest, whole_file, write_manifest
from system2.synthesise.json_list import located_items
from system2.synthesise.step_values import (
    UNKNOWN,
    LabelledSolution,
    StepLabel,
    label_row,
    labelled_solution,
    step_label,
    texts_of,
)

STEP_STOP = "\n"
"""What is put after each step but the last of formats whose steps stand apart."""
MARK = "ки"
"""Where Math-Shepherd's step ends: in its labels a "+" or "-" stands there."""

_Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StepFormat:
    """How a format's row is read (with where it stands, for errors) and, if at all, written.

    `read` raises `UserError` that starts with where the row stands; `write` where a solution
    cannot be said in the format. `is_list`: a file is one JSON list, not JSON lines.
    """

    read: Callable[[_Row, str], Iterable[LabelledSolution]]
    write: Callable[[LabelledSolution], dict[str, Any]] | None = None
    is_list: bool = False


def read_labels(path: Path, name: str = "labels") -> Iterator[LabelledSolution]:
    """Yield the labelled solutions of a file in the format of that name, as a stream.

    Raises: `UserError` on an unknown format, and naming file and line on a row that is not of it.
    """
    known = step_format(name)
    for where, row in located_items(path):
        try:
            yield from known.read(row, where)
        except ValueError as error:  # of the types: what was read contradicts itself
            raise UserError(f"{where}: {error}") from None


def write_labels(
    path: Path,
    solutions: Iterable[LabelledSolution],
    name: str = "labels",
    manifest: Manifest | None = None,
) -> int:
    """Write labelled solutions in the format of that name, whole or not at all; return how many.

    Raises: `UserError` where the format is only read, or cannot say a solution.
    """
    known, count = step_format(name), 0
    if known.write is None:
        raise UserError(f"format {name} can be read, not written; write labels or math-shepherd")
    with whole_file(path) as file:
        for solution in solutions:
            line = json.dumps(known.write(solution), allow_nan=False).encode()
            lead = (b",\n" if count else b"[\n") if known.is_list else b""
            _ = file.write(lead + line + (b"" if known.is_list else b"\n"))
            count += 1
        if known.is_list:
            _ = file.write(b"\n]\n" if count else b"[]\n")
        if manifest is not None:
            write_manifest(path, manifest)
    return count


def step_format(name: str) -> StepFormat:
    """Return the format of a name. Raises: `UserError`."""
    if name not in FORMATS:
        raise UserError(f"no format {name!r} of step labels; there are {', '.join(FORMATS)}")
    return FORMATS[name]


# PRM800K

_VALUE_OF = {-1: 0.0, 0: 0.5, 1: 1.0}


def _read_prm800k(row: _Row, where: str) -> Iterator[LabelledSolution]:
    question, label = _object(row, "question", where), _object(row, "label", where)
    prompt, answer = _text(question, "problem", where), question.get("ground_truth_answer")
    problem = _problem("prm800k", prompt, answer)
    steps, labels = list[str](), list[StepLabel]()
    rated = _list(label, "steps", where)
    others: list[LabelledSolution] = []
    is_whole = True
    for number, step in enumerate(rated, start=1):
        at = f"{where}, step {number}"
        completions, chosen = _completions(step, at)
        for i, (text, value) in enumerate(completions):
            if i != chosen and value != UNKNOWN:
                path, known = _joined([*steps, text]), (*[UNKNOWN] * len(steps), value)
                other = LabelledSolution(problem, path, known, is_finished=False, source="prm800k")
                others.append(other)
        if chosen is None:  # nobody went on from here
            is_whole = False
            break
        steps.append(completions[chosen][0])
        labels.append(completions[chosen][1])
    if steps:
        is_finished = is_whole and label.get("finish_reason") == "solution"
        yield LabelledSolution(
            problem, _joined(steps), tuple(labels), is_finished=is_finished, source="prm800k"
        )
    yield from others


def _completions(step: object, where: str) -> tuple[list[tuple[str, StepLabel]], int | None]:
    """Return a step's completions with their labels, and which one the path goes on with.

    A person's own completion, where one was written, comes last.
    """
    fields = _as_object(step, where)
    found: object = fields.get("completions")
    listed = cast(list[object], found) if isinstance(found, list) else []
    if found is not None and not isinstance(found, list):
        raise UserError(f'{where}: its "completions" are no list')
    completions: list[tuple[str, StepLabel]] = []
    for one in listed:
        fields_of = _as_object(one, where)
        completions.append((_text(fields_of, "text", where), _rating(fields_of, where)))
    chosen: object = fields.get("chosen_completion")
    human: object = fields.get("human_completion")
    if human is not None:
        own = _as_object(human, where)
        completions.append((_text(own, "text", where), _rating(own, where)))
        if chosen is None:
            return completions, len(completions) - 1
    return completions, None if chosen is None else _index(chosen, len(listed), where)


def _index(chosen: object, length: int, where: str) -> int:
    if not isinstance(chosen, int) or isinstance(chosen, bool) or not 0 <= chosen < length:
        raise UserError(f"{where}: chosen_completion is {chosen!r}; it has {length}")
    return chosen


def _rating(completion: _Row, where: str) -> StepLabel:
    rating: object = completion.get("rating")
    if rating is None:
        return UNKNOWN
    if not isinstance(rating, int) or isinstance(rating, bool) or rating not in _VALUE_OF:
        raise UserError(f"{where}: rating is {rating!r}; it must be -1, 0, 1 or null")
    return StepLabel(_VALUE_OF[rating])


def _write_prm800k(solution: LabelledSolution) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {
            "completions": [{"text": text, "rating": _rating_of(label.value), "flagged": False}],
            "human_completion": None,
            "chosen_completion": 0,
        }
        for text, label in zip(_apart(solution.steps), solution.labels, strict=True)
    ]
    reason = "solution" if solution.is_finished else "give_up"
    problem = solution.problem
    return {
        "labeler": "",
        "generation": None,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {"problem": problem.prompt, "ground_truth_answer": problem.answer},
        "label": {"steps": steps, "finish_reason": reason},
    }


def _rating_of(value: float | None) -> int | None:
    """Return the rating whose value is nearest; a half lies between."""
    if value is None:
        return None
    return min(_VALUE_OF, key=lambda rating: abs(_VALUE_OF[rating] - value))


# Math-Shepherd


def _read_shepherd(row: _Row, where: str) -> Iterator[LabelledSolution]:
    text, label = _text(row, "input", where), _text(row, "label", where)
    pieces = text.split(MARK)
    if len(pieces) < 2 or pieces[-1].strip():
        raise UserError(f'{where}: its "input" does not end with the mark {MARK!r}')
    values: list[StepLabel] = []
    at = 0
    for piece in pieces[:-1]:
        sign = label[at + len(piece) : at + len(piece) + 1]
        if not label.startswith(piece, at) or sign not in ("+", "-"):
            raise UserError(
                f'{where}: its "label" does not say + or - at the end of step {len(values) + 1}'
            )
        values.append(StepLabel(1.0 if sign == "+" else 0.0))
        at += len(piece) + 1
    if label[at:] != pieces[-1]:
        raise UserError(f'{where}: its "label" goes on after the last step')
    start = pieces[0].rfind("Step 1:")
    if start < 0:
        raise UserError(f'{where}: its "input" has no "Step 1:", where the solution starts')
    steps = [pieces[0][start:], *pieces[1:-1]]
    problem = _problem(str(row.get("task", "math-shepherd")), pieces[0][:start].strip(), "")
    yield LabelledSolution(
        problem, _joined([step.strip() for step in steps]), tuple(values), source="math-shepherd"
    )


def _write_shepherd(solution: LabelledSolution) -> dict[str, Any]:
    problem, texts, signs = solution.problem, list[str](), list[str]()
    for number, (step, label) in enumerate(
        zip(_apart(solution.steps), solution.labels, strict=True), start=1
    ):
        if label.value is None:
            raise UserError(
                f"problem {problem.id}: step {number} has no value; the format needs +-"
            )
        text = step.strip()
        texts.append(text if text.startswith(f"Step {number}:") else f"Step {number}: {text}")
        signs.append("+" if label.value > 0 else "-")
    if not texts or MARK in problem.prompt or any(MARK in text for text in texts):
        raise UserError(f"problem {problem.id}: has no step, or holds the mark {MARK!r}")

    def marked(marks: Iterable[str]) -> str:
        lines = (f"{text} {mark}" for text, mark in zip(texts, marks, strict=True))
        return f"{problem.prompt} " + "\n".join(lines)

    return {"input": marked(MARK for _ in texts), "label": marked(signs), "task": problem.task}


# ProcessBench


def _read_processbench(row: _Row, where: str) -> Iterator[LabelledSolution]:
    steps, label = texts_of(row.get("steps"), f"{where}: steps"), row.get("label")
    if not isinstance(label, int) or isinstance(label, bool) or not -1 <= label < len(steps):
        raise UserError(f"{where}: label is {label!r}; it must be -1, or one of {len(steps)} steps")
    if not isinstance(row.get("id"), str):
        raise UserError(f'{where}: needs the text "id"; it has {sorted(row)}')
    grade: object = row.get("final_answer_correct")
    if not (grade is None or isinstance(grade, bool)):
        raise UserError(f"{where}: final_answer_correct is {grade!r}; true, false or null")
    values = [StepLabel(1.0)] * (len(steps) if label < 0 else label)
    if label >= 0:
        values += [StepLabel(0.0), *[UNKNOWN] * (len(steps) - label - 1)]
    generator: object = row.get("generator")
    problem = Problem(
        row["id"],
        _text(row, "problem", where),
        "",
        "processbench",
        {"generator": generator} if isinstance(generator, str) else {},
    )
    yield LabelledSolution(
        problem, _joined(steps), tuple(values), grade=grade, source="processbench"
    )


def _write_processbench(solution: LabelledSolution) -> dict[str, Any]:
    values = [label.value for label in solution.labels]
    wrong = (i for i, value in enumerate(values) if value is not None and value < 0.5)
    return {
        "id": solution.problem.id,
        "generator": solution.problem.metadata.get("generator", solution.source),
        "problem": solution.problem.prompt,
        "steps": _apart(solution.steps),
        "final_answer_correct": solution.grade,
        "label": next(wrong, -1),
    }


# MATH-APS


def _read_aps(row: _Row, where: str) -> Iterator[LabelledSolution]:
    prompt, found = _text(row, "question", where), row.get("reasoning_steps")
    problem = _problem("math-aps", prompt, row.get("final_answer"))
    if isinstance(found, dict):
        yield from _aps_paths(problem, cast(dict[str, Any], found), where)
        return
    before = UNKNOWN
    for number, one in enumerate(_list(row, "reasoning_steps", where), start=1):
        at = f"{where}, prefix {number}"
        fields = _as_object(one, at)
        text = _text(fields, "solution_prefix", at)
        label = step_label(fields.get("mc_value"), None, None, at)
        if not text.startswith(prompt):
            raise UserError(f"{at}: does not begin with the question")
        added = text[len(prompt) :].strip()
        if not added:
            before = label
            continue
        yield LabelledSolution(problem, (added,), (label,), before, is_finished=False, source="aps")


def _aps_paths(problem: Problem, root: _Row, where: str) -> Iterator[LabelledSolution]:
    """Yield each path from the root (the question) to a leaf of a tree."""
    before = step_label(root.get("mc_value"), None, None, where)
    waiting = [(_node(child, where), ()) for child in reversed(_list(root, "children", where))]
    paths: list[tuple[tuple[str, StepLabel, _Row], ...]] = []
    stack: list[tuple[tuple[str, StepLabel, _Row], tuple[Any, ...]]] = list(waiting)
    while stack:
        node, above = stack.pop()
        path = (*above, node)
        children = _list(node[2], "children", where)
        if not children:
            paths.append(path)
        stack += [(_node(child, where), path) for child in reversed(children)]
    for path in paths:
        steps, labels = _joined([node[0] for node in path]), tuple(node[1] for node in path)
        yield LabelledSolution(problem, steps, labels, before, is_finished=False, source="aps")


def _node(found: object, where: str) -> tuple[str, StepLabel, _Row]:
    fields = _as_object(found, where)
    label = step_label(fields.get("mc_value"), None, None, where)
    return _text(fields, "text", where), label, fields


FORMATS: dict[str, StepFormat] = {
    "labels": StepFormat(lambda row, where: [labelled_solution(row, where)], label_row),
    "prm800k": StepFormat(_read_prm800k, _write_prm800k),
    "math-shepherd": StepFormat(_read_shepherd, _write_shepherd),
    "processbench": StepFormat(_read_processbench, _write_processbench, is_list=True),
    "math-aps": StepFormat(_read_aps),
}
"""Formats of step labels by name; "labels" is ours (see `step_values`)."""


# What rows are made of


def _problem(task: str, prompt: str, answer: object) -> Problem:
    """Return a problem that has no name of its own: a hash of its text is its id."""
    name = hashlib.blake2b(prompt.encode(errors="surrogatepass"), digest_size=6).hexdigest()
    return Problem(f"{task}-{name}", prompt, answer if isinstance(answer, str) else "", task)


def _joined(steps: Sequence[str]) -> tuple[str, ...]:
    """Return steps that stand apart with what ends a step after each but the last."""
    return (*(step + STEP_STOP for step in steps[:-1]), *steps[-1:])


def _apart(steps: Sequence[str]) -> list[str]:
    """Return steps as `_joined` was given them."""
    return [*(step.removesuffix(STEP_STOP) for step in steps[:-1]), *steps[-1:]]


def _as_object(found: object, where: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise UserError(f"{where}: holds {type(found).__name__} where an object is needed")
    return cast(dict[str, Any], found)


def _object(row: _Row, name: str, where: str) -> dict[str, Any]:
    if not isinstance(row.get(name), dict):
        raise UserError(f'{where}: needs the object "{name}"; it has {sorted(row)}')
    return cast(dict[str, Any], row[name])


def _list(row: _Row, name: str, where: str) -> list[object]:
    if not isinstance(row.get(name), list):
        raise UserError(f'{where}: needs the list "{name}"; it has {sorted(row)}')
    return cast(list[object], row[name])


def _text(row: _Row, name: str, where: str) -> str:
    if not isinstance(row.get(name), str):
        raise UserError(f'{where}: needs the text "{name}"; it has {sorted(row)}')
    return cast(str, row[name])
