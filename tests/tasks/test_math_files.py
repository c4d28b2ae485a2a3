"""The MATH reader: its splits never meet, and published answers are read off the solutions."""

import json
from pathlib import Path

import pytest

from system2.core import Problem, Split, Task, UserError
from system2.tasks.hendrycks_math import TASK, TASK_500

SPLIT_SIZES = [
    (TASK, "train", 6733),
    (TASK, "validation", 733),
    (TASK, "test", 5000),
    (TASK_500, "test", 500),
]


@pytest.fixture
def at_data(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYSTEM2_DATA", str(shared_data))
    return shared_data


def all_of(task: Task, split: Split) -> list[Problem]:
    return list(task.problems(split, 0))


@pytest.mark.parametrize(("task", "split", "size"), SPLIT_SIZES)
def test_splits_have_their_sizes(at_data: Path, task: Task, split: Split, size: int) -> None:
    problems = all_of(task, split)
    assert len(problems) == len({problem.id for problem in problems}) == size
    assert all(problem.answer.strip() for problem in problems)


def test_a_problem_of_both_parts_belongs_to_the_test(at_data: Path) -> None:
    published = json.loads((at_data / "math" / "train_answers.json").read_text())
    test = {"".join(problem.prompt.split()) for problem in all_of(TASK, "test")}
    shared = {"".join(row["problem"].split()) for row in published} & test
    assert len(shared) == 2
    for split in ("train", "validation"):
        assert not test & {"".join(problem.prompt.split()) for problem in all_of(TASK, split)}


def test_the_answers_read_off_solutions_are_the_published_ones(at_data: Path) -> None:
    answers = {problem.id: problem.answer for problem in all_of(TASK, "test")}
    for problem in all_of(TASK_500, "test"):
        assert "".join(answers[problem.id].split()) == "".join(problem.answer.split())


def test_gold_solutions_are_accepted(at_data: Path) -> None:
    for problem in all_of(TASK_500, "test")[:60]:
        assert TASK_500.grade(problem, problem.metadata["solution"])
        assert TASK_500.answer_of(problem, problem.metadata["solution"]) is not None


def test_a_row_without_an_answer_is_left_out_and_a_strange_one_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYSTEM2_DATA", str(tmp_path))
    (tmp_path / "math").mkdir()
    rows: list[dict[str, str | None]] = [
        {"problem": "a", "answer": None},
        {"problem": "b", "solution": r"so \boxed{\frac{1}{2}}.", "level": "Level 1"},
        {"problem": "c", "answer": "3", "subject": "Algebra"},
    ]
    file = tmp_path / "math" / "test.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    first, second = all_of(TASK, "test")
    assert first.answer == r"\frac{1}{2}"
    assert first.metadata["level"] == "Level 1"
    assert second.metadata == {"subject": "Algebra"}
    file.write_text('{"question": "a"}')
    # Files are read once, so the changed one needs another name.
    file.rename(tmp_path / "math" / "math500.jsonl")
    with pytest.raises(UserError, match="lacks 'problem'"):
        all_of(TASK_500, "test")
