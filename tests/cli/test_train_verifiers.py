"""The commands that train further verifiers: folders of the contract, refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from system2.cli.app import main
from system2.core import Problem
from system2.engine.local import LocalPolicy, load_policy
from system2.store import problem_row, read_trees, write_jsonl
from system2.verify.advantage import AdvantageVerifier
from system2.verify.folders import load_verifier
from system2.verify.generative import GenerativeVerifier
from system2.verify.implicit import ImplicitVerifier
from system2.verify.meta_critic import MetaCritic
from system2.verify.process import ProcessVerifier

KINDS: dict[str, tuple[type, list[object]]] = {
    "value-verifier": (ProcessVerifier, ["--lambda", 0.5, "--expectile", 0.7, "--rounds", 1]),
    "implicit-verifier": (ImplicitVerifier, ["--beta", 0.1]),
    "meta-critic": (MetaCritic, ["--orders", 2]),
    "generative-verifier": (GenerativeVerifier, []),
}


@pytest.fixture(scope="module")
def folder(
    toy_policy: LocalPolicy, sums: list[Problem], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a file of problems, and one of sampled attempts at them."""
    folder = tmp_path_factory.mktemp("further")
    _ = write_jsonl(folder / "asked.jsonl", map(problem_row, sums[:24]))
    given = ["--problems", folder / "asked.jsonl", "--policy", toy_policy.tokenizer.folder]
    sample = ["--search", "sample", "--samples", 4, "--max-tokens", 24]
    assert main([*map(str, ["solve", *given, *sample, "--out", folder / "trees.jsonl"])]) == 0
    return folder


def words_of(kind: str, policy: LocalPolicy, out: Path, *more: object) -> list[str]:
    small = ["--epochs", 1, "--learning-rate", 1e-3, "--json"]
    given = ["--policy", policy.tokenizer.folder, "--out", out, *small]
    return ["train", kind, *map(str, (*more, *given))]


def said(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def assert_refused(words: list[str], capsys: pytest.CaptureFixture[str], named: str) -> None:
    assert main(words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("system2: error: ")
    assert named in line


@pytest.mark.parametrize("kind", KINDS)
def test_a_verifier_is_trained_saved_and_used(
    kind: str,
    folder: Path,
    toy_policy: LocalPolicy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made, more = KINDS[kind]
    out = tmp_path / "verifier"
    assert main(words_of(kind, toy_policy, out, folder / "trees.jsonl", *more)) == 0
    result = said(capsys)
    assert result["out"] == str(out)
    assert result["steps"] >= 1
    policy = load_policy(str(toy_policy.tokenizer.folder))
    verifier, _ = load_verifier(str(out), policy)
    assert type(verifier) is made
    manifest = json.loads((out / "verifier.json").read_text())["manifest"]
    assert manifest["command"] == f"train {kind}"
    assert manifest["data_hash"]
    assert not Path(f"{out}.partial").exists()
    solve = ["solve", "--problems", folder / "asked.jsonl", "--n", 4, "--max-tokens", 24]
    used = ["--policy", toy_policy.tokenizer.folder, "--verifier", out, "--search", "best_of_n"]
    trees = ["--samples", 2, "--out", tmp_path / "solved.jsonl"]
    assert main([*map(str, (*solve, *used, *trees))]) == 0
    _, rows = read_trees(tmp_path / "solved.jsonl")
    values = [node["value"] for row in rows for node in row["nodes"] if node["terminal"]]
    assert values
    assert all(0 <= value <= 1 for value in values)


def test_an_advantage_is_made_of_a_process_verifier(
    folder: Path, toy_policy: LocalPolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = tmp_path / "values"
    trees = folder / "trees.jsonl"
    assert main(words_of("value-verifier", toy_policy, values, trees, "--lambda", 1)) == 0
    given = ["--policy", str(toy_policy.tokenizer.folder), "--json", "--alpha", "0.5"]
    words = ["train", "advantage-verifier", str(values), *given, "--out"]
    assert main([*words, str(tmp_path / "pav")]) == 0
    assert said(capsys) == {"alpha": 0.5, "best_of": 4, "out": str(tmp_path / "pav")}
    loaded, _ = load_verifier(str(tmp_path / "pav"), toy_policy)
    assert isinstance(loaded, AdvantageVerifier)
    words[2] = str(tmp_path / "pav")
    assert_refused([*words, str(tmp_path / "twice")], capsys, "is no process verifier")


def test_a_model_may_be_asked_as_it_is_with_solved_problems(
    folder: Path, toy_policy: LocalPolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--solved", folder / "asked.jsonl", "--neighbours", 1, "--chains", 2]
    assert main(words_of("generative-verifier", toy_policy, tmp_path / "judge", *more)) == 0
    assert said(capsys)["steps"] == 0
    loaded, _ = load_verifier(str(tmp_path / "judge"), toy_policy)
    assert isinstance(loaded, GenerativeVerifier)
    assert (loaded.judging.chains, loaded.judging.neighbours) == (2, 1)
    assert len(loaded.index.solved) == 24
    for one, other in zip(loaded.model.parameters(), toy_policy.model.parameters(), strict=True):
        assert bool((one == other).all())


@pytest.mark.parametrize(
    ("kind", "more", "named"),
    [
        ("value-verifier", ["--lambda", 1.5], "--lambda"),
        ("value-verifier", ["--expectile", 1], "--expectile"),
        ("value-verifier", ["--backup", "median"], "--backup"),
        ("implicit-verifier", ["--beta", 0], "--beta"),
        ("meta-critic", ["--tried", "some"], "--tried"),
        ("meta-critic", ["--adapted", 9], "cannot adapt 9 layers"),
        ("generative-verifier", ["--embedding", "bert"], "--embedding"),
        ("generative-verifier", ["--chains", -1], "--chains"),
    ],
)
def test_options_out_of_range_are_refused(
    kind: str,
    more: list[object],
    named: str,
    folder: Path,
    toy_policy: LocalPolicy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = words_of(kind, toy_policy, tmp_path / "out", folder / "trees.jsonl", *more)
    assert_refused(words, capsys, named)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_trees_file_is_refused(
    kind: str,
    folder: Path,
    toy_policy: LocalPolicy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = words_of(kind, toy_policy, tmp_path / "out", folder / "asked.jsonl")
    assert_refused(words, capsys, "no trees file")
    words = words_of(kind, toy_policy, tmp_path / "out", folder / "nowhere.jsonl")
    assert_refused(words, capsys, "nowhere.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.write_text((folder / "trees.jsonl").read_text().splitlines()[0] + "\n")
    assert_refused(words_of(kind, toy_policy, tmp_path / "out", empty), capsys, "holds no tree")
