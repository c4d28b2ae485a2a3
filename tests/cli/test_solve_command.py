"""`system2 solve` and `evaluate`: the contract's files, taken up again, misuse refused at once."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from system2.cli.app import main
from system2.core import Problem
from system2.engine.local import LocalPolicy
from system2.store import read_trees
from system2.verify.folders import save_verifier
from system2.verify.outcome import OutcomeVerifier
from system2.verify.token import TokenVerifier

NODE = {"parent", "tokens", "text", "logprobs", "depth", "terminal", "value"}
ROW = {
    *("problem", "seed", "nodes", "answer", "grade", "sampled_tokens"),
    *("positions_requested", "positions_computed"),
}


@pytest.fixture
def verifiers(toy_policy: LocalPolicy, tmp_path: Path) -> dict[str, Path]:
    """A folder with a verifier of each kind."""
    token = TokenVerifier(toy_policy.model, "vocab", 1)
    outcome = OutcomeVerifier(toy_policy.model, 1)
    with torch.no_grad():
        _ = token.top.head.weight.mul_(-1)
        _ = outcome.top.head.weight.add_(0.1)
    folders = {"token": tmp_path / "token", "outcome": tmp_path / "outcome"}
    save_verifier(folders["token"], token, toy_policy.tokenizer)
    save_verifier(folders["outcome"], outcome, toy_policy.tokenizer)
    return folders


def words(policy: LocalPolicy, asked: Path, out: Path, *more: object) -> list[str]:
    given = ["--policy", policy.tokenizer.folder, "--problems", asked, "--out", out]
    return ["solve", *map(str, given), "--max-tokens", "24", *map(str, more)]


def solved(
    policy: LocalPolicy, asked: Path, out: Path, *more: object
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    assert main(words(policy, asked, out, *more)) == 0
    manifest, rows = read_trees(out)
    return manifest, list(rows)


def test_a_trees_file_is_the_contracts(
    toy_policy: LocalPolicy, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "trees.jsonl"
    sample = ("--search", "sample", "--samples", 3, "--n", 9, "--seed", 4, "--json")
    manifest, rows = solved(toy_policy, asked, out, *sample)
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said == {"n": 9, "right": sum(row["grade"] is True for row in rows), "out": str(out)}
    assert (manifest["command"], manifest["seed"]) == ("solve", 4)
    assert manifest["config"]["search"] == "sample"
    assert manifest["data_hash"]
    assert json.loads(out.read_text().splitlines()[0]) == {"manifest": manifest}
    for row in rows:
        assert row.keys() == ROW
        assert all(node.keys() - {"answer", "grade"} == NODE for node in row["nodes"])
        assert len(row["nodes"]) == 4
    assert main(["evaluate", str(out), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["n"] == 9
    assert summary["accuracy"] == pytest.approx(said["right"] / 9)
    assert summary["low"] <= summary["accuracy"] <= summary["high"]
    assert summary["unjudged"] == 0
    assert summary["sampled_tokens"] == sum(row["sampled_tokens"] for row in rows)


def test_a_file_is_solved_whole_and_a_task_a_hundred_times(
    toy_policy: LocalPolicy, asked: Path, tmp_path: Path, sums: list[Problem]
) -> None:
    _, rows = solved(toy_policy, asked, tmp_path / "trees.jsonl")
    assert [row["problem"]["id"] for row in rows] == [problem.id for problem in sums]


def test_a_split_holding_fewer_says_so(
    toy_policy: LocalPolicy, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, rows = solved(toy_policy, asked, tmp_path / "trees.jsonl", "--n", 1000)
    assert len(rows) == 100
    assert "holds 100 problems, fewer than 1000" in capsys.readouterr().err


def test_a_token_verifier_guides_and_an_outcome_verifier_chooses(
    toy_policy: LocalPolicy, asked: Path, tmp_path: Path, verifiers: dict[str, Path]
) -> None:
    few = ("--n", 12)
    _, plain = solved(toy_policy, asked, tmp_path / "plain", *few)
    guide = (*few, "--verifier", verifiers["token"])
    _, guided = solved(toy_policy, asked, tmp_path / "guided", *guide, "--beta", 5)
    _, unguided = solved(toy_policy, asked, tmp_path / "unguided", *guide, "--beta", 0)

    def texts(rows: list[dict[str, Any]]) -> list[str]:
        return [row["nodes"][1]["text"] for row in rows]

    assert texts(unguided) == texts(plain)
    assert texts(guided) != texts(plain)
    best = (*few, "--search", "best_of_n", "--samples", 4, "--verifier", verifiers["outcome"])
    _, chosen = solved(toy_policy, asked, tmp_path / "best", *best)
    for row in chosen:
        stated = [n for n in row["nodes"] if n["terminal"] and n["answer"] is not None]
        if stated:
            assert row["answer"] == max(stated, key=lambda node: node["value"])["answer"]


def test_decoding_is_guided_by_one_verifier_and_judged_by_others(
    toy_policy: LocalPolicy, asked: Path, tmp_path: Path, verifiers: dict[str, Path]
) -> None:
    several = [word for name in verifiers.values() for word in ("--verifier", name)]
    more = ("--search", "beam", *several, "--verifier", "oracle", "--judge", "last", "--n", 6)
    manifest, rows = solved(toy_policy, asked, tmp_path / "trees.jsonl", *more)
    names = [*map(str, verifiers.values()), "oracle"]
    assert (manifest["config"]["verifier"], manifest["config"]["judge"]) == (names, "last")
    ended = [node for row in rows for node in row["nodes"] if node["terminal"]]
    assert ended
    assert all(node["value"] == float(node["grade"]) for node in ended), "the last judges these"
    begun = [n["value"] for row in rows for n in row["nodes"][1:] if not n["terminal"]]
    assert not {0.0, 0.5, 1.0} & set(begun)


@pytest.mark.parametrize(
    "search",
    [
        ["beam", "--width", 2],
        ["diverse_beam", "--width", 2],
        ["best_first", "--iterations", 6],
        ["astar", "--iterations", 6, "--weight", 2],
        ["dfs", "--iterations", 6, "--prune", 0.01],
        ["mcts", "--iterations", 6, "--formula", "puct", "--exploration", 0.5],
    ],
    ids=lambda search: search[0],
)
def test_a_search_over_steps_is_a_search_like_the_others(
    search: list[object],
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    verifiers: dict[str, Path],
) -> None:
    dials = ("--branch", 3, "--max-depth", 4, "--budget", 90, "--n", 6)
    more = ("--search", *search, *dials, "--verifier", verifiers["outcome"])
    manifest, rows = solved(toy_policy, asked, tmp_path / "trees.jsonl", *more)
    assert manifest["config"]["branch"] == 3
    assert all(0 < row["sampled_tokens"] <= 90 for row in rows)
    assert all(node["depth"] <= 4 for row in rows for node in row["nodes"])
    assert all(node["value"] is not None for row in rows for node in row["nodes"][1:])
    assert any(node["terminal"] for row in rows for node in row["nodes"])


def assert_same_rows(one: Path, other: Path) -> None:
    """All but the manifest, which holds the time, is the same to the last byte."""
    assert one.read_bytes().split(b"\n")[1:] == other.read_bytes().split(b"\n")[1:]


def test_several_workers_write_the_same_rows(
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    verifiers: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("system2.cli.workers.num_cores", lambda: 2)
    sample = ("--search", "sample", "--samples", 2, "--verifier", verifiers["token"], "--beta", 5)
    (_, rows), (_, others) = (
        solved(toy_policy, asked, tmp_path / f"by {workers}", *sample, "--workers", workers)
        for workers in (1, 2)
    )
    for row, other in zip(rows, others, strict=True):
        assert row.pop("positions_computed") > 0, "a share of what its batch cost"
        assert other.pop("positions_computed") > 0
        for node, its in zip(row["nodes"], other["nodes"], strict=True):
            assert node.pop("logprobs") == pytest.approx(its.pop("logprobs"), abs=1e-4)
    assert rows == others


def test_workers_are_for_policies_that_run_here(
    asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--problems", str(asked), "--out", str(tmp_path / "out"), "--workers", "2"]
    assert (
        main(["solve", "--policy", "http://localhost:1/v1#m", "--tokenizer", "tiny", *given]) == 2
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert "a server takes --batch requests" in line


@pytest.mark.parametrize("num_kept", [0, 7, 64, 99])
def test_a_run_killed_between_two_rows_ends_as_if_undisturbed(
    num_kept: int,
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from system2.store import Journal

    sample = ("--search", "sample", "--samples", 2)
    _ = solved(toy_policy, asked, tmp_path / "whole", *sample)
    append = Journal.append

    def stop(self: Journal, row: dict[str, Any]) -> None:
        if len(self) == num_kept:
            raise KeyboardInterrupt
        append(self, row)

    out = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", stop)
        assert main(words(toy_policy, asked, out, *sample)) == 2
    assert not out.exists()
    partial = Path(f"{out}.partial")
    assert partial.exists() == (num_kept > 0), "nothing is kept of a run without a row"
    kept = partial.read_bytes() if num_kept else b""
    partial.write_bytes(kept + b'{"problem": {"id": "torn by the ki')
    _ = solved(toy_policy, asked, out, *sample)
    assert_same_rows(out, tmp_path / "whole")
    assert not partial.exists()


@pytest.mark.parametrize(
    "search",
    [
        ["sample", "--samples", 20],
        ["particle", "--width", 6, "--max-depth", 4, "--resample-temperature", 2],
    ],
    ids=lambda search: search[0],
)
def test_a_killed_process_is_taken_up(
    search: list[object],
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    verifiers: dict[str, Path],
) -> None:
    judge = [] if search[0] == "sample" else ["--verifier", verifiers["outcome"]]
    more = ("--search", *search, *judge)
    _ = solved(toy_policy, asked, tmp_path / "whole", *more)
    out = tmp_path / "killed"
    partial = Path(f"{out}.partial")
    command = [sys.executable, "-m", "system2", *words(toy_policy, asked, out, *more)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        deadline = time.monotonic() + 200
        while not (partial.exists() and partial.read_bytes().count(b"\n") > 1):
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        job.kill()
    assert job.returncode == -signal.SIGKILL
    assert not out.exists()
    _ = solved(toy_policy, asked, out, *more)
    assert_same_rows(out, tmp_path / "whole")


def test_searches_that_read_text_are_searches_like_the_others(
    toy_policy: LocalPolicy, asked: Path, tmp_path: Path, verifiers: dict[str, Path]
) -> None:
    few = ("--n", 5, "--budget", 300)
    judge = ("--verifier", verifiers["outcome"])
    _, rows = solved(
        toy_policy, asked, tmp_path / "adaptive", *few, "--search", "adaptive_consistency"
    )
    assert all(4 <= len(row["nodes"]) - 1 <= 40 for row in rows)
    manifest, rows = solved(
        toy_policy, asked, tmp_path / "revision", *few, *judge, "--search", "revision",
        "--samples", 3, "--window", 2, "--accept", 1,
    )  # fmt: skip
    assert (manifest["config"]["window"], manifest["config"]["accept"]) == (2, 1.0)
    assert all(len(row["nodes"]) - 1 == 3 for row in rows)
    _, rows = solved(toy_policy, asked, tmp_path / "meta", *few, *judge, "--search", "meta")
    assert all(row["sampled_tokens"] <= 300 for row in rows)
    for row in rows:
        ended = [n for n in row["nodes"] if n["terminal"]]
        assert ended
        assert all(node["value"] is not None for node in ended)


def test_what_was_begun_with_other_weights_is_begun_anew(
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    verifiers: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same words, but the verifier's folder now holds another: nothing of the old is kept."""
    from system2.store import Journal

    guide = ("--n", 3, "--verifier", verifiers["token"], "--beta", 3)
    out = tmp_path / "out"
    seen: list[int] = []
    opened = Journal.__enter__

    def look(self: Journal) -> Journal:
        seen.append(len(self))
        return opened(self)

    def stop(self: Journal, **_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "__enter__", look)
        patch.setattr(Journal, "finish", stop)
        for _ in range(2):
            assert main(words(toy_policy, asked, out, *guide)) == 2
        save_verifier(
            verifiers["token"], TokenVerifier(toy_policy.model, "vocab", 1), toy_policy.tokenizer
        )
        assert main(words(toy_policy, asked, out, *guide)) == 2
    assert seen == [0, 3, 0]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--search", "bogo"], "no search 'bogo'"),
        (["--select", "loudest"], "no selection 'loudest'"),
        (["--samples", "4"], "--search sample"),
        (["--width", "4"], "greedy has no use for --width"),
        (["--search", "beam", "--samples", "4"], "beam has no use for --samples"),
        (["--search", "best_first", "--max-depth", "0"], "--max-depth"),
        (["--search", "sample", "--accept", "0.5"], "sample has no use for --accept"),
        (["--search", "particle", "--branch", "2"], "particle has no use for --branch"),
        (["--search", "beam", "--lookahead", "2"], "beam has no use for --lookahead"),
        (["--search", "best_first", "--weight", "2"], "best_first has no use for --weight"),
        (["--search", "dfs", "--resample-temperature", "1"], "no use for --resample-temperature"),
        (["--search", "meta", "--window", "2"], "meta has no use for --window"),
        (["--search", "astar", "--formula", "uct"], "astar has no use for --formula"),
        (["--search", "mcts", "--formula", "ucb"], "--formula"),
        (["--search", "mcts", "--exploration", "nan"], "--exploration"),
        (["--search", "dfs", "--prune", "1.5"], "--prune"),
        (["--search", "astar", "--weight", "-1"], "--weight"),
        (["--search", "particle", "--resample-temperature", "0"], "--resample-temperature"),
        (["--search", "lookahead", "--lookahead", "-1"], "--lookahead"),
        (["--search", "revision", "--window", "0"], "--window"),
        (["--search", "beam", "--accept", "2"], "--accept"),
        (["--search", "particle"], "none is given"),
        (["--search", "revision"], "none is given"),
        (["--search", "mcts"], "none is given"),
        (["--beta", "0.5"], "--verifier"),
        (["--alpha", "1.5"], "--alpha"),
        (["--alpha", "nan"], "--alpha"),
        (["--search", "sample", "--temperature", "-1"], "--temperature"),
        (["--search", "sample", "--temperature", "inf"], "--temperature"),
        (["--search", "sample", "--top-p", "0"], "top_p"),
        (["--budget", "0"], "--budget"),
        (["--workers", "0"], "--workers"),
        (["--workers", "100000"], "the number of cores"),
        (["--n", "0"], "--n"),
        (["--task", "countdown"], "either --task NAME or --problems"),
        (["--search", "best_of_n"], "none is given"),
        (["--search", "best_of_n", "--verifier", "TOKEN"], "judges tokens"),
        (["--verifier", "OUTCOME"], "use --search best_of_n"),
        (["--search", "best_of_n", "--verifier", "OUTCOME", "--beta", "1"], "for token verifiers"),
        (["--verifier", "nowhere"], "no verifier 'nowhere'"),
        (["--verifier", "oracle"], "use --search best_of_n"),
        (["--search", "best_of_n", "--verifier", "optimal"], "has no exact solver"),
        (["--verifier", "TOKEN", "--verifier", "TOKEN"], "named twice"),
        (["--search", "beam", "--verifier", "oracle", "--beta", "1"], "for token verifiers"),
        (["--search", "beam", "--verifier", "oracle", "--judge", "best"], "--judge"),
    ],
)
def test_misuse_is_named_in_one_line_and_leaves_nothing(
    more: list[str],
    named: str,
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    verifiers: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = {"TOKEN": str(verifiers["token"]), "OUTCOME": str(verifiers["outcome"])}
    out = tmp_path / "out" / "trees.jsonl"
    assert main(words(toy_policy, asked, out, *(folders.get(word, word) for word in more))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("system2: error: ")
    assert named in line
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "holds no problem"),
        ('{"id": "a"}\n', "line 1"),
        ('{"id": "a", "task": "no_task", "prompt": "?", "answer": "1"}\n', "no_task"),
        (
            '{"id": "a", "task": "countdown", "prompt": "?", "answer": "1"}\n'
            '{"id": "b", "task": "word_problems", "prompt": "?", "answer": "1"}\n',
            "2 tasks",
        ),
        ('{"id": "a", "task"', "line 1: not JSON"),
    ],
)
def test_a_wrong_file_of_problems_is_named(
    content: str,
    named: str,
    toy_policy: LocalPolicy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "asked.jsonl"
    path.write_text(content)
    assert main(words(toy_policy, path, tmp_path / "out")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert [p.name for p in tmp_path.iterdir()] == ["asked.jsonl"]
