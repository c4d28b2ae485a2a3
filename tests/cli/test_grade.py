"""`system2 grade` keeps rows and order, names a broken line, and goes on where it was stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from system2.cli.app import main
from system2.store import read_jsonl, write_jsonl

COUNTDOWN = [
    ({"numbers": [5, 3, 2], "target": 16, "prediction": "(5+3)*2"}, True),
    ({"numbers": [5, 3, 2], "target": 16, "prediction": "(5+3)*2 = 16"}, True),
    ({"numbers": [5, 3, 2], "target": 16, "prediction": "(5+3)*2 = 17"}, False),
    ({"numbers": [5, 3], "target": 13, "prediction": "5+5+3"}, False),
    ({"numbers": [5, 3], "target": 5, "prediction": "5/(3-3)"}, False),
    ({"numbers": [5, 3], "target": 8, "prediction": "eight"}, False),
]


def graded(tmp_path: Path, rows: list[dict[str, Any]], *words: str) -> list[dict[str, Any]]:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_jsonl(source, rows)
    assert main(["grade", str(source), "--out", str(out), *words]) == 0
    return list(read_jsonl(out))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.text(max_size=5))))
def test_whole_numbers_are_graded_in_place(
    tmp_path: Path, cases: list[tuple[int, int, str]]
) -> None:
    rows = [
        {"more": more, "prediction": f"So the answer is {said}.", "gold": gold}
        for said, gold, more in cases
    ]
    expected = [
        row | {"grade": said == gold} for row, (said, gold, _) in zip(rows, cases, strict=True)
    ]
    assert graded(tmp_path, rows) == expected


def test_countdown_rows_are_checked_by_its_own_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for row, _ in COUNTDOWN]
    found = graded(tmp_path, rows, "--task", "countdown", "--json")
    assert found == [row | {"grade": right} for row, right in COUNTDOWN]
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["n"], result["right"], result["wrong"], result["unjudged"]) == (6, 2, 4, 0)


@pytest.mark.parametrize("task", ["word_problems", "countdown"])
def test_a_tasks_own_solutions_are_right(task: str, tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    assert main(["problems", task, "--n", "20", "--out", str(problems)]) == 0
    rows = [
        {**row, **row["metadata"], "prediction": row["metadata"]["solution"]}
        for row in read_jsonl(problems)
    ]
    found = graded(tmp_path, rows, "--task", task)
    assert [row["grade"] for row in found] == [True] * 20


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"prediction": "1", "gold": "1"', []),
        ('{"prediction": "1"}', []),
        ('{"prediction": null, "gold": "1"}', []),
        ('["1", "1"]', []),
        ('{"prediction": "1+1", "target": 2}', ["--task", "countdown"]),
        ('{"prediction": "1+1", "numbers": [1, 1.5], "target": 2}', ["--task", "countdown"]),
        ('{"prediction": "1+1", "numbers": [1, 1], "target": "2"}', ["--task", "countdown"]),
        ('{"prediction": "1", "metadata": {}}', ["--task", "word_problems"]),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_written(
    line: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.jsonl"
    good = {"prediction": "1+1", "gold": "2", "numbers": [1, 1], "target": 2}
    source.write_text(f"{json.dumps(good)}\n\n{line}\n")
    assert main(["grade", str(source), "--out", str(tmp_path / "out.jsonl"), *words]) == 2
    (complaint,) = capsys.readouterr().err.splitlines()
    assert complaint.startswith(f"system2: error: {source}, line 3: ")
    assert os.listdir(tmp_path) == ["in.jsonl"]


def test_it_goes_on_after_a_full_disk(tmp_path: Path) -> None:
    script = """
import resource, sys
from system2.cli.app import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main(sys.argv[1:]))
"""
    rows = [{"prediction": str(number), "gold": str(number)} for number in range(1_000)]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_jsonl(source, rows)
    words = ["grade", str(source), "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == f"system2: error: no room left to write on: {out}.partial\n"
    assert not out.exists()
    assert main(words) == 0
    assert list(read_jsonl(out)) == [row | {"grade": True} for row in rows]


def test_it_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    """Ctrl-C at a terminal reaches the whole group of processes, the checker's workers too."""
    rows = [{"prediction": f"{number}", "gold": f"{number // 2 * 2}"} for number in range(20_000)]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    partial = tmp_path / "out.jsonl.partial"
    write_jsonl(source, rows)
    words = ["grade", str(source), "--out", str(out)]
    command = [sys.executable, "-m", "system2", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as job:
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.stat().st_size > 2_000):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.killpg(job.pid, signal.SIGINT)
        said, complained = job.communicate(timeout=60)
    assert (job.returncode, said) == (2, "")
    assert complained == "system2: stopped; run the same command again to go on\n"
    assert not out.exists()
    key, first, *others = partial.read_bytes().splitlines(keepends=True)
    assert 0 < len(others) < len(rows) - 1
    # A mark on the first finished row comes through: it is not graded again.
    partial.write_bytes(key + first.replace(b"true", b'true, "marked": 1') + b"".join(others))
    assert main(words) == 0
    graded = [row | {"grade": number % 2 == 0} for number, row in enumerate(rows)]
    assert list(read_jsonl(out)) == [graded[0] | {"marked": 1}, *graded[1:]]
    assert not partial.exists()


def test_game24_rows_need_no_target(tmp_path: Path) -> None:
    hand, said = [6, 9, 12, 13], "13 - 9 = 4\nAnswer: (13 - 9) * (12 - 6) = 24"
    rows: list[dict[str, Any]] = [
        {"numbers": hand, "prediction": said},
        {"metadata": {"numbers": hand}, "prediction": said},
        {"numbers": hand, "prediction": "Answer: 6 * 4 = 24"},
    ]
    found = graded(tmp_path, rows, "--task", "game24")
    assert [row["grade"] for row in found] == [True, True, False]
    write_jsonl(tmp_path / "in.jsonl", [{"prediction": said}])
    assert main(["grade", str(tmp_path / "in.jsonl"), "--out", "x", "--task", "game24"]) == 2
