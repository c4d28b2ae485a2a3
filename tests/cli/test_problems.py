"""`system2 problems` writes the contract's rows, the same ones again for the same seed."""

import json
from itertools import islice
from pathlib import Path

import pytest

from system2.cli.app import main
from system2.core import SPLITS, Split
from system2.store import manifest_path, problem_row, read_jsonl
from system2.tasks import find_task


@pytest.mark.parametrize("task", ["word_problems", "countdown"])
@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_the_tasks_problems(
    task: str, split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "problems.jsonl"
    words = ["problems", task, "--split", split, "--n", "7", "--seed", "3", "--out", str(out)]
    assert main([*words, "--json"]) == 0
    said, complained = capsys.readouterr()
    result = {"task": task, "split": split, "seed": 3, "n": 7, "out": str(out)}
    assert json.loads(said.splitlines()[-1]) == result
    assert complained == ""
    rows = list(read_jsonl(out))
    assert [list(row) for row in rows] == [["id", "task", "prompt", "answer", "metadata"]] * 7
    expected = [problem_row(problem) for problem in islice(find_task(task).problems(split, 3), 7)]
    assert rows == json.loads(json.dumps(expected))
    manifest = json.loads(manifest_path(out).read_text())
    assert (manifest["seed"], manifest["config"]["split"]) == (3, split)
    first = out.read_bytes()
    assert main(words) == 0
    assert out.read_bytes() == first


def test_a_split_that_holds_fewer_says_so(
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SYSTEM2_DATA", str(shared_data))
    out = tmp_path / "problems.jsonl"
    words = ["problems", "gsm8k", "--split", "test", "--n", "100000", "--out", str(out)]
    assert main(words) == 0
    said, complained = capsys.readouterr()
    num_rows = sum(1 for _ in read_jsonl(out))
    assert f"wrote {num_rows} problems" in said
    (line,) = complained.splitlines()
    assert line.startswith("system2: warning: ")
    assert f"holds {num_rows} problems, fewer than 100000" in line
