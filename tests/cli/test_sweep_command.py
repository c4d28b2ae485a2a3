"""`system2 sweep` and `measure`: the contract's files, taken up after a kill, misuse refused."""

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
from system2.engine.local import LocalPolicy
from system2.verify.folders import save_verifier
from system2.verify.outcome import OutcomeVerifier
from system2.verify.token import TokenVerifier

ROW = {
    *("task", "policy", "verifier", "search", "budget", "seed", "n", "accuracy", "low", "high"),
    *("sampled_tokens", "positions_computed"),
}
FILES = {"cells.jsonl", "figure.svg", "report.html", "results.json", "sweep.json"}


@pytest.fixture
def verifiers(toy_policy: LocalPolicy, tmp_path: Path) -> dict[str, str]:
    """A folder with a verifier of each kind, their names full of marks that separate lists."""
    token = TokenVerifier(toy_policy.model, "vocab", 1)
    outcome = OutcomeVerifier(toy_policy.model, 1)
    with torch.no_grad():
        _ = outcome.top.head.weight.add_(0.1)
    folders = {"token": tmp_path / "a+token", "outcome": tmp_path / "an,outcome"}
    save_verifier(folders["token"], token, toy_policy.tokenizer)
    save_verifier(folders["outcome"], outcome, toy_policy.tokenizer)
    return {name: str(folder) for name, folder in folders.items()}


def words(
    policy: LocalPolicy, asked: Path, out: Path, *more: object, command: str = "sweep"
) -> list[str]:
    given = ["--policy", policy.tokenizer.folder, "--problems", asked, "--out", out]
    return [command, *map(str, given), "--max-tokens", "24", *map(str, more)]


def swept(policy: LocalPolicy, asked: Path, out: Path, *more: object) -> dict[str, Any]:
    assert main(words(policy, asked, out, *more)) == 0
    assert {path.name for path in out.iterdir()} == FILES
    return json.loads((out / "results.json").read_text())


def without_time(results: dict[str, Any]) -> dict[str, Any]:
    results["manifest"].pop("created")
    return results


LISTS = ("--searches", "majority,best_of_n", "--budgets", "40,80", "--seeds", "0,1", "--n", 6)


def test_a_sweep_is_the_contracts(
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    verifiers: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    judge = ("--verifier", verifiers["outcome"])
    results = swept(toy_policy, asked, tmp_path / "deep" / "out", *LISTS, *judge, "--json")
    rows = results["rows"]
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["rows"] == len(rows) == 8
    assert {(row["search"], row["budget"], row["seed"]) for row in rows} == {
        (search, budget, seed)
        for search in ("majority", "best_of_n")
        for budget in (40, 80)
        for seed in (0, 1)
    }
    for row in rows:
        assert row.keys() >= ROW
        assert (row["n"], row["task"]) == (6, "word_problems")
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
        assert row["sampled_tokens"] == row["budget"], "it binds"
        assert row["positions_computed"] > 0
        is_judged = row["search"] == "best_of_n"
        assert row["verifier"] == (verifiers["outcome"] if is_judged else None)
    assert "units" in results
    assert {row["seeds"] for row in results["pooled"]} == {2}
    assert {row["baseline"] for row in results["paired"]} == {"majority"}
    assert results["manifest"]["command"] == "sweep"


def test_lists_and_tasks_are_crossed_and_teams_work_together(
    toy_policy: LocalPolicy, tmp_path: Path, verifiers: dict[str, str], asked: Path
) -> None:
    """Folders whose names hold a comma or a plus are names, not lists."""
    more = ["--searches", "beam", "--searches", "sample", "--budgets", "50", "--n", "2"]
    more += ["--verifier", verifiers["outcome"], "--verifier", verifiers["token"]]
    more += ["--verifier", "oracle", "--width", "2"]
    results = swept(toy_policy, asked, tmp_path / "out", *more)
    found = [(row["search"], row["verifier"]) for row in results["rows"]]
    assert sorted(found, key=str) == sorted(
        [
            ("beam", verifiers["outcome"]),
            ("beam", "oracle"),
            ("sample", None),
            ("sample", verifiers["token"]),
        ],
        key=str,
    )
    assert results["baseline"] == "beam"


def test_several_tasks_and_workers_give_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_policy: LocalPolicy
) -> None:
    monkeypatch.setattr("system2.cli.workers.num_cores", lambda: 2)
    given = ["--policy", str(toy_policy.tokenizer.folder), "--task", "word_problems,countdown"]
    given += ["--searches", "majority", "--budgets", "30", "--n", "3", "--max-tokens", "16"]
    results: list[dict[str, Any]] = []
    for workers in ("1", "2"):
        out = tmp_path / workers
        assert main(["sweep", *given, "--out", str(out), "--workers", workers]) == 0
        results.append(json.loads((out / "results.json").read_text()))
    assert [row["task"] for row in results[0]["rows"]] == ["word_problems", "countdown"]
    assert results[0]["rows"] == results[1]["rows"]


def test_a_killed_sweep_goes_on_and_another_is_refused(
    toy_policy: LocalPolicy, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = ("--searches", "majority,best_of_n,beam", "--budgets", "100,200", "--seeds", "0,1")
    more = (*lists, "--verifier", "oracle", "--n", 8)
    whole = swept(toy_policy, asked, tmp_path / "whole", *more)
    out = tmp_path / "killed"
    partial = out / "cells.jsonl.partial"
    command = [sys.executable, "-m", "system2", *words(toy_policy, asked, out, *more)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        deadline = time.monotonic() + 200
        while not (partial.exists() and partial.read_bytes().count(b"\n") > 2):
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        job.kill()
    assert job.returncode == -signal.SIGKILL
    assert not (out / "results.json").exists()
    kept = partial.read_bytes()
    assert 2 < kept.count(b"\n") < 13
    partial.write_bytes(kept + b'{"rows": [{"torn')
    _ = capsys.readouterr()
    assert main(words(toy_policy, asked, out, *more, "--max-depth", 3)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds another sweep: dials is" in line
    assert partial.read_bytes() == kept + b'{"rows": [{"torn', "nothing was lost"
    again = swept(toy_policy, asked, out, *more)
    assert (out / "cells.jsonl").read_bytes().startswith(kept)
    assert without_time(again) == without_time(whole)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (["--budgets", "40"], "budgets is [40, 80] there and [40] here"),
        (["--seeds", "0"], "seeds is"),
        (["--n", "5"], "problems is"),
        (["--temperature", "0.5"], "temperature is 1.0 there and 0.5 here"),
    ],
)
def test_another_sweep_in_the_same_folder_is_refused_by_what_differs(
    changed: list[str],
    named: str,
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lists = {"--searches": "sample", "--budgets": "40,80", "--seeds": "0,1", "--n": "3"}
    given = [word for pair in lists.items() for word in pair]
    out = tmp_path / "out"
    before = swept(toy_policy, asked, out, *given)
    lists |= {changed[0]: changed[1]}
    assert main(words(toy_policy, asked, out, *[w for pair in lists.items() for w in pair])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert json.loads((out / "results.json").read_text()) == before


GIVEN = {"--searches": "sample", "--budgets": "40", "--n": "2"}


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"--searches": "bogo"}, "no search 'bogo'"),
        ({"--searches": "sample,,beam"}, "--searches 'sample,,beam' has an empty entry"),
        ({"--searches": "sample,sample"}, "names sample twice"),
        ({"--searches": "beam"}, "beam needs a verifier"),
        ({"--budgets": "40,x"}, "'x' is no whole number"),
        ({"--budgets": "0"}, "--budgets: 0"),
        ({"--budgets": "1e9"}, "'1e9' is no whole number"),
        ({"--budgets": str(10**30)}, "has to lie between"),
        ({"--seeds": "a"}, "'a' is no whole number"),
        ({"--seeds": "0,0"}, "names 0 twice"),
        ({"--verifier": "oracle"}, "which none of sample asks for"),
        ({"--verifier": "nowhere"}, "no verifier 'nowhere'"),
        ({"--verifier": "a++b"}, "empty name"),
        ({"--searches": "beam", "--verifier": "optimal"}, "task word_problems has no exact solver"),
        ({"--searches": "beam", "--verifier": "oracle+oracle"}, "named twice"),
        ({"--baseline": "majority"}, "--baseline is majority"),
        ({"--width": "2"}, "no search of sample has a use for --width"),
        ({"--task": "countdown"}, "either --task NAME or --problems"),
        ({"--beta": "1"}, "--verifier"),
        ({"--judge": "loudest"}, "--judge"),
        ({"--workers": "100000"}, "number of cores"),
        ({"--policy": "no/such/folder"}, "no/such/folder"),
    ],
)
def test_misuse_is_named_in_one_line_and_leaves_nothing(
    more: dict[str, str],
    named: str,
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    changed = [word for pair in (GIVEN | more).items() for word in pair]
    begun = words(toy_policy, asked, out)
    if "--policy" in more:
        named_before = ("--policy", str(toy_policy.tokenizer.folder))
        begun = [word for word in begun if word not in named_before]
    assert main([*begun, *changed]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("system2: error: ")
    assert named in line
    assert not out.exists()


def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["sweep", "--task", "countdown", "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--searches" in line


# ---- measure


def test_verifiers_are_measured_on_the_same_prefixes(
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    verifiers: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = {"seed": 0, "resamples": 20}
    monkeypatch.setattr("system2.evaluate.verifiers.with_interval.__kwdefaults__", few)
    out = tmp_path / "measured"
    more = ["--verifier", verifiers["outcome"], "--verifier", "oracle", "--n", "20"]
    begun = words(toy_policy, asked, out, *more, "--rollouts", "4", "--json", command="measure")
    assert main(begun) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    results = json.loads((out / "results.json").read_text())
    assert [figures["verifier"] for figures in results["verifiers"]] == [
        verifiers["outcome"],
        "oracle",
    ]
    learned, oracle = results["verifiers"]
    assert learned["policy"]["n"] == oracle["policy"]["n"] > 20
    assert said["verifiers"][0]["mae"] == learned["policy"]["mae"]["value"] > 0
    assert all(row["gap"] == 0 for row in oracle["best_of_n"])
    rows = [json.loads(line) for line in (out / "prefixes.jsonl").read_text().splitlines()[1:]]
    assert sum(len(row["rows"]) for row in rows) == 20
    assert main(begun) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == said


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ([], "--verifier NAME"),
        (["--verifier", "TOKEN"], "judges tokens"),
        (["--verifier", "optimal"], "no exact solver"),
        (["--verifier", "oracle", "--rollouts", "0"], "--rollouts"),
        (["--verifier", "oracle,"], "empty entry"),
        (["--verifier", "oracle", "--policy", "http://localhost:1/v1#m"], "not on a server"),
    ],
)
def test_misuse_of_measure_is_named_and_leaves_nothing(
    more: list[str],
    named: str,
    asked: Path,
    toy_policy: LocalPolicy,
    tmp_path: Path,
    verifiers: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "measured"
    given = [word.replace("TOKEN", verifiers["token"]) for word in more]
    if "--policy" not in more:
        given += ["--policy", str(toy_policy.tokenizer.folder)]
    assert main(["measure", "--problems", str(asked), "--out", str(out), *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert named in line
    assert not out.exists()
