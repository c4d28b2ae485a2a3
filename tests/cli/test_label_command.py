"""`system2 label` and `system2 train process-verifier`: contract, taken up, refused."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from system2.cli.app import main
from system2.engine.local import LocalPolicy
from system2.store import manifest_path, read_jsonl
from system2.synthesise.prm_formats import read_labels, write_labels
from system2.verify.folders import load_verifier
from system2.verify.process import Calibration, ProcessVerifier
from tests.toys import assert_refused, given, last_json

SMALL = ("--attempts", 3, "--rollouts", 4, "--max-tokens", 24)


def label_words(policy: LocalPolicy, asked: Path, out: Path, *more: object) -> list[str]:
    given = ("--policy", policy.tokenizer.folder, "--problems", asked, "--out", out)
    return ["label", *map(str, (*given, *SMALL, *more))]


def train_words(policy: LocalPolicy, labels: Path, out: Path, *more: object) -> list[str]:
    given = (labels, "--policy", policy.tokenizer.folder, "--out", out, "--max-tokens", 512)
    return ["train", "process-verifier", *map(str, (*given, *more))]


@pytest.fixture(scope="module")
def labels(toy_policy: LocalPolicy, asked: Path) -> Path:
    """A labels file made by the command."""
    out = asked.parent / "labels.jsonl"
    assert main(label_words(toy_policy, asked, out)) == 0
    return out


def test_labels_are_the_contracts(
    toy_policy: LocalPolicy, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labels.jsonl"
    more = ("--n", 7, "--reference", "--seed", 3, "--json")
    assert main(label_words(toy_policy, asked, out, *more)) == 0
    rows = list(read_jsonl(out))
    num_steps = sum(len(row["steps"]) for row in rows)
    said = {"n": 7, "solutions": 28, "steps": num_steps, "out": str(out)}
    assert last_json(capsys) == said
    assert [row["source"] for row in rows] == ["sampled", "sampled", "sampled", "reference"] * 7
    for row in rows:
        assert len(row["steps"]) == len(row["values"]) == len(row["right"]) == len(row["rollouts"])
        assert row["before"]["rollouts"] == 4
        assert row["before"] == rows[4 * (rows.index(row) // 4)]["before"]
    manifest = json.loads(manifest_path(out).read_text())
    assert (manifest["command"], manifest["seed"]) == ("label", 3)
    assert manifest["config"]["rollouts"] == 4
    assert manifest["data_hash"]


def test_labelling_that_was_killed_ends_as_if_undisturbed(
    toy_policy: LocalPolicy, asked: Path, labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    partial, words = Path(f"{out}.partial"), label_words(toy_policy, asked, out)
    with subprocess.Popen([sys.executable, "-m", "system2", *words]) as job:
        deadline = time.monotonic() + 200
        while not (partial.exists() and partial.read_bytes().count(b"\n") > 1):
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        job.kill()
    assert job.returncode == -signal.SIGKILL
    assert not out.exists()
    lines = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(b"".join(lines[:9]) + b'{"problem": {"i')  # within a problem, and torn
    assert main(words) == 0
    assert out.read_bytes() == labels.read_bytes()
    assert not partial.exists()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--attempts", "0"], "attempts is 0"),
        (["--attempts", "-1"], "--attempts"),
        (["--rollouts", "0"], "--rollouts"),
        (["--temperature", "nan"], "--temperature"),
        (["--temperature", "0"], "temperature 0"),
        (["--top-p", "2"], "top_p is 2"),
        (["--task", "countdown"], "either --task NAME or --problems"),
        (["--policy", "nowhere"], "nowhere"),
    ],
)
def test_wrong_labelling_is_named_and_leaves_nothing(
    more: list[str],
    named: str,
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = label_words(toy_policy, asked, tmp_path / "out" / "labels.jsonl")
    assert_refused(given(words, more), capsys, named)
    assert not (tmp_path / "out").exists()


# train


@pytest.mark.parametrize("layout", ["shared", "separate"])
def test_a_trained_folder_is_a_verifier(
    layout: str,
    toy_policy: LocalPolicy,
    asked: Path,
    labels: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "verifier"
    more = ("--layout", layout, "--aggregation", "product", "--labels", "hard", "--json")
    assert main(train_words(toy_policy, labels, out, *more)) == 0
    said = last_json(capsys)
    assert said.keys() == {"solutions", "values", "held_out", "steps", "loss", "out"}
    assert said["solutions"] + said["held_out"] == 300
    assert 0 < said["held_out"] < 60
    verifier, settings = load_verifier(str(out), toy_policy)
    assert isinstance(verifier, ProcessVerifier)
    assert (verifier.layout, verifier.aggregation, settings) == (layout, "product", {})
    assert verifier.calibration != Calibration()
    description = json.loads((out / "verifier.json").read_text())
    assert description["kind"] == "process"
    assert description["manifest"]["config"]["labels"] == "hard"
    assert [path.name for path in tmp_path.iterdir()] == ["verifier"]
    given = ["--policy", toy_policy.tokenizer.folder, "--problems", asked, "--n", 3]
    search = ["--search", "beam", "--verifier", out, "--max-tokens", 24, "--branch", 2]
    assert main([*map(str, ["solve", *given, *search, "--out", tmp_path / "trees"])]) == 0


def test_training_again_makes_the_same_and_goes_on_after_a_kill(
    toy_policy: LocalPolicy, labels: Path, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        assert main(train_words(toy_policy, labels, tmp_path / name, "--epochs", 1)) == 0
    words = train_words(toy_policy, labels, tmp_path / "killed", "--epochs", 1)
    with subprocess.Popen([sys.executable, "-m", "system2", *words]) as job:
        time.sleep(0.5)
        job.kill()
    assert main(words) == 0
    weights = [
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other", "killed")
    ]
    assert weights[0] == weights[1] == weights[2]


def test_files_of_other_formats_are_learned(
    toy_policy: LocalPolicy, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = [
        s for s in read_labels(labels) if s.steps and all(x.value is not None for x in s.labels)
    ]
    for form in ("math-shepherd", "prm800k", "processbench"):
        _ = write_labels(tmp_path / form, known, form)
        words = train_words(toy_policy, tmp_path / form, tmp_path / f"{form}-v", "--format", form)
        assert main([*words, "--json"]) == 0
        assert last_json(capsys)["values"] > 20
        verifier, _ = load_verifier(str(tmp_path / f"{form}-v"), toy_policy)
        assert isinstance(verifier, ProcessVerifier)


def test_what_cannot_be_learned_is_named(
    toy_policy: LocalPolicy, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, out = tmp_path / "bad.jsonl", tmp_path / "verifier"
    bad.write_text(labels.read_text().splitlines()[0] + '\n{"problem": 3}\n')
    assert_refused(train_words(toy_policy, bad, out), capsys, f"{bad}, line 2", '"problem"')
    bad.write_text("")
    assert_refused(train_words(toy_policy, bad, out), capsys, "is missing")
    assert_refused(train_words(toy_policy, tmp_path / "no", out), capsys, str(tmp_path / "no"))
    assert_refused(train_words(toy_policy, labels, out, "--step-stop", ""), capsys, "--step-stop")
    words = train_words(toy_policy, labels, out, "--format", "prm800k")
    assert_refused(words, capsys, f"{labels}, line 1", '"question"')
    assert_refused(train_words(toy_policy, labels, out, "--adapted", 9), capsys, "9 layers")
    assert not out.exists()
