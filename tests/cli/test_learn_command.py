"""`system2 explore` and `system2 train`: files and folders of the contract, taken up, refused."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from system2.cli.app import main
from system2.core import Problem
from system2.engine.local import LocalPolicy, load_policy
from system2.engine.weights import load_model, save_model
from system2.store import manifest_path, problem_row, read_jsonl, write_jsonl
from system2.synthesise.pairs import read_pairs
from system2.train.token_verifier import VerifierFit, fit_token_verifier
from system2.verify.folders import load_verifier
from system2.verify.outcome import OutcomeVerifier
from system2.verify.token import TokenVerifier
from tests.toys import assert_refused, given, last_json

SMALL = ("--positions", 3, "--rollouts", 4, "--max-tokens", 20)


@pytest.fixture
def asked(sums: list[Problem], tmp_path: Path) -> Path:
    """A file of some of the sums."""
    path = tmp_path / "asked.jsonl"
    _ = write_jsonl(path, map(problem_row, sums[:70]))
    return path


@pytest.fixture(scope="module")
def pairs(
    toy_policy: LocalPolicy, sums: list[Problem], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A file of pairs, explored by the command."""
    folder = tmp_path_factory.mktemp("pairs")
    _ = write_jsonl(folder / "asked.jsonl", map(problem_row, sums[:70]))
    words = explore_words(toy_policy, folder / "asked.jsonl", folder / "pairs.jsonl")
    assert main(words) == 0
    return folder / "pairs.jsonl"


@pytest.fixture(scope="module")
def trees(
    toy_policy: LocalPolicy, sums: list[Problem], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A file of sampled attempts."""
    folder = tmp_path_factory.mktemp("trees")
    _ = write_jsonl(folder / "asked.jsonl", map(problem_row, sums[:40]))
    given = ["--problems", folder / "asked.jsonl", "--policy", toy_policy.tokenizer.folder]
    sample = ["--search", "sample", "--samples", 4, "--max-tokens", 24]
    assert main([*map(str, ["solve", *given, *sample, "--out", folder / "trees.jsonl"])]) == 0
    return folder / "trees.jsonl"


def explore_words(policy: LocalPolicy, asked: Path, out: Path, *more: object) -> list[str]:
    given = ["--policy", policy.tokenizer.folder, "--problems", asked, "--out", out]
    return ["explore", *map(str, (*given, *SMALL, *more))]


def train_words(
    kind: str, policy: LocalPolicy, data: Path | None, out: Path, *more: object
) -> list[str]:
    given = [*([data] if data is not None else []), "--policy", policy.tokenizer.folder]
    small = ["--max-tokens", 512, "--micro-batches", 1, "--learning-rate", 1e-2]
    return ["train", kind, *map(str, (*given, "--out", out, *small, *more))]


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def are_equal(one: Path, other: Path) -> bool:
    first, second = tensors_of(one), tensors_of(other)
    return first.keys() == second.keys() and all(
        torch.equal(tensor, second[name]) for name, tensor in first.items()
    )


# explore


def test_explored_pairs_are_the_contracts(
    toy_policy: LocalPolicy, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pairs.jsonl"
    assert main(explore_words(toy_policy, asked, out, "--n", 9, "--seed", 3, "--json")) == 0
    rows = list(read_jsonl(out))
    num_pairs = sum(len(row["samples"]) for row in rows)
    assert last_json(capsys) == {"n": 9, "pairs": num_pairs, "out": str(out)}
    assert num_pairs >= 3
    for row in rows:
        assert row.keys() <= {"messages", "samples", "qualities"}
    assert len(list(read_pairs(out, toy_policy.tokenizer))) == 9
    manifest = json.loads(manifest_path(out).read_text())
    assert (manifest["command"], manifest["seed"]) == ("explore", 3)
    assert manifest["config"]["rollouts"] == 4
    assert manifest["data_hash"]


@pytest.mark.parametrize("strategy", ["uniform", "base", "expert", "contrast"])
def test_cheap_strategies_take_an_amateur_by_name(
    strategy: str, toy_policy: LocalPolicy, asked: Path, tmp_path: Path
) -> None:
    more = ("--n", 3, "--strategy", strategy, "--amateur", toy_policy.tokenizer.folder)
    assert main(explore_words(toy_policy, asked, tmp_path / "pairs", *more)) == 0
    rows = list(read_jsonl(tmp_path / "pairs"))
    assert len(rows) == 3
    assert not any("qualities" in row for row in rows)


@pytest.mark.parametrize("text", ["reference", "sampled"])
def test_an_exploration_that_was_killed_ends_as_if_undisturbed(
    text: str, toy_policy: LocalPolicy, asked: Path, tmp_path: Path
) -> None:
    more = ("--text", text)
    assert main(explore_words(toy_policy, asked, tmp_path / "whole", *more)) == 0
    out = tmp_path / "killed"
    partial = Path(f"{out}.partial")
    words = explore_words(toy_policy, asked, out, *more)
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
    partial.write_bytes(b"".join(lines[:9]) + b'{"messages": [{"ro')  # within a chunk, and torn
    assert main(words) == 0
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()
    assert not partial.exists()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--strategy", "base"], "--amateur"),
        (["--strategy", "expert", "--text", "sampled"], "strategy rollout"),
        (["--min-gap", "0"], "gap above 0"),
        (["--alpha", "nan"], "--alpha"),
        (["--rollouts", "0"], "--rollouts"),
        (["--strategy", "random"], "--strategy"),
        (["--task", "countdown"], "either --task NAME or --problems"),
        (["--policy", "nowhere"], "nowhere"),
    ],
)
def test_a_wrong_exploration_is_named_and_leaves_nothing(
    more: list[str],
    named: str,
    toy_policy: LocalPolicy,
    asked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = explore_words(toy_policy, asked, tmp_path / "out" / "pairs.jsonl")
    assert_refused(given(words, more), capsys, named)
    assert not (tmp_path / "out").exists()


def test_held_out_problems_are_warned_of(
    toy_policy: LocalPolicy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A policy that knows no word of the task still explores it: only the split counts here."""
    given = ["--policy", str(toy_policy.tokenizer.folder), "--task", "countdown", "--n", "1"]
    cheap = ["--strategy", "expert", "--positions", "1", "--proposals", "1", "--alpha", "0"]
    out = str(tmp_path / "pairs.jsonl")
    assert main(["explore", *given, *cheap, "--split", "test", "--out", out]) == 0
    assert "these are test problems" in capsys.readouterr().err
    assert main(train_words("token-verifier", toy_policy, Path(out), tmp_path / "v")) == 0
    assert "these are test problems" in capsys.readouterr().err
    assert main(["explore", *given, *cheap, "--out", out]) == 0
    assert capsys.readouterr().err == ""


# train


def test_files_of_pairs_are_learned_together(
    toy_policy: LocalPolicy, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(read_jsonl(pairs))
    (first, second), both = (tmp_path / "1", tmp_path / "2"), tmp_path / "both"
    write_jsonl(first, rows[:4])
    write_jsonl(second, rows[4:])
    words = train_words("token-verifier", toy_policy, first, both, "--json")
    assert main([*words[:3], str(second), *words[3:]]) == 0
    assert last_json(capsys)["pairs"] == sum(len(row["samples"]) for row in rows)
    assert main(train_words("token-verifier", toy_policy, pairs, tmp_path / "one")) == 0
    assert are_equal(both, tmp_path / "one")
    second.write_text("{")
    words = train_words("token-verifier", toy_policy, first, tmp_path / "none")
    assert_refused([*words[:3], str(second), *words[3:]], capsys, str(second), "line 1")


@pytest.mark.parametrize("layout", ["separate", "shared", "vocab"])
def test_a_trained_folder_is_a_verifier(
    layout: str,
    toy_policy: LocalPolicy,
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "verifier"
    more = ("--layout", layout, "--alpha", 0.2, "--beta", 0.5, "--json")
    assert main(train_words("token-verifier", toy_policy, pairs, out, *more)) == 0
    said = last_json(capsys)
    assert said.keys() == {"pairs", "steps", "loss", "out"}
    assert said["pairs"] == sum(len(row["samples"]) for row in read_jsonl(pairs))
    assert 0 < said["loss"] < 0.8
    verifier, settings = load_verifier(str(out), toy_policy)
    assert isinstance(verifier, TokenVerifier)
    assert (verifier.layout, settings) == (layout, {"alpha": 0.2, "beta": 0.5})
    description = json.loads((out / "verifier.json").read_text())
    assert description["manifest"]["config"]["layout"] == layout
    assert description["manifest"]["data_hash"]
    assert [path.name for path in tmp_path.iterdir()] == ["verifier"]
    solve = ["--policy", toy_policy.tokenizer.folder, "--verifier", out, "--max-tokens", 24]
    asked = ["--problems", pairs.parent / "asked.jsonl", "--n", 3, "--out", tmp_path / "trees"]
    assert main([*map(str, ["solve", *solve, *asked])]) == 0


def test_an_outcome_verifier_is_trained_and_used(
    toy_policy: LocalPolicy, trees: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "verifier"
    assert main(train_words("outcome-verifier", toy_policy, trees, out, "--json")) == 0
    said = last_json(capsys)
    assert said.keys() == {"attempts", "right", "steps", "loss", "out"}
    assert 0 < said["right"] < said["attempts"] <= 160
    verifier, _ = load_verifier(str(out), toy_policy)
    assert isinstance(verifier, OutcomeVerifier)
    solve = ["--policy", toy_policy.tokenizer.folder, "--verifier", out, "--max-tokens", 24]
    best = ["--search", "best_of_n", "--samples", 4, "--out", tmp_path / "best"]
    asked = ["--problems", trees.parent / "asked.jsonl", "--n", 3]
    assert main([*map(str, ["solve", *solve, *best, *asked])]) == 0
    rows = list(read_jsonl(tmp_path / "best"))[1:]
    values = [n["value"] for row in rows for n in row["nodes"] if n["terminal"]]
    assert values
    assert all(0 <= value <= 1 for value in values)


def test_fine_tuning_makes_a_policy(
    toy_policy: LocalPolicy, asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "tuned"
    words = train_words("sft", toy_policy, None, out, "--problems", asked, "--json")
    assert main(words) == 0
    said = last_json(capsys)
    assert said["problems"] == 70
    tuned = load_policy(str(out))
    assert tuned.tokenizer.vocab_size == toy_policy.tokenizer.vocab_size
    assert not are_equal(out, toy_policy.tokenizer.folder)
    assert json.loads((out / "manifest.json").read_text())["command"] == "train sft"
    assert not Path(f"{out}.partial").exists()


def test_a_training_that_was_killed_ends_as_if_undisturbed(
    toy_policy: LocalPolicy, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    assert main(train_words("token-verifier", toy_policy, pairs, whole)) == 0
    words = train_words("token-verifier", toy_policy, pairs, out, "--json")
    script = """
import os, signal, sys
from functools import partial
from system2.cli.app import main
from system2.train import loop, token_verifier

def killed(*what, **how):
    for report in loop.fit(*what, **how):
        yield report
        if report.step == 2:
            os.kill(os.getpid(), signal.SIGKILL)

token_verifier.fit = killed
loop.FitConfig = partial(loop.FitConfig, save_every_s=0.0)
sys.exit(main(sys.argv[1:]))
"""
    done = subprocess.run([sys.executable, "-c", script, *words], timeout=200)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    assert (Path(f"{out}.partial") / "training").is_dir()
    assert main(words) == 0
    assert are_equal(out, whole)
    assert not Path(f"{out}.partial").exists()
    assert main([*words, "--seed", "7"]) == 0  # a verifier may be replaced
    assert not are_equal(out, whole)


def test_a_half_trained_folder_of_other_data_is_not_gone_on_with(
    toy_policy: LocalPolicy, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same settings and as many steps, but one pair less: another run."""
    out = tmp_path / "verifier"
    rows = list(read_pairs(pairs, toy_policy.tokenizer))
    config = VerifierFit("shared", learning_rate=1e-2, max_tokens=512, micro_batches=1)
    _, _, reports = fit_token_verifier(
        toy_policy.model, rows, config, folder=Path(f"{out}.partial")
    )
    assert len(list(reports)) > 2
    others = list(read_jsonl(pairs))
    others[0]["samples"], others[0]["qualities"] = [], []
    _ = write_jsonl(tmp_path / "others.jsonl", others)
    words = train_words("token-verifier", toy_policy, tmp_path / "others.jsonl", out)
    assert_refused(words, capsys, "other data", f"{out}.partial")
    assert not out.exists()


def test_nan_ends_in_one_line_and_writes_no_verifier(
    toy_policy: LocalPolicy, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load_model(toy_policy.tokenizer.folder)
    with torch.no_grad():
        _ = model.model.layers[1].mlp.down_proj.weight.fill_(torch.nan)
    save_model(tmp_path / "spoiled", model, toy_policy.tokenizer.folder)
    out = tmp_path / "verifier"
    words = train_words("token-verifier", toy_policy, pairs, out)
    assert_refused(
        given(words, ["--policy", str(tmp_path / "spoiled")]),
        capsys,
        "training stopped at step 0: loss nan",
    )
    assert not out.exists()


@pytest.mark.parametrize("kind", ["token-verifier", "outcome-verifier", "sft"])
@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--epochs", "0"], "epochs is 0"),
        (["--epochs", "nan"], "epochs is nan"),
        (["--learning-rate", "1e30"], "learning_rate is 1e+30"),
        (["--learning-rate", "nan"], "learning_rate is nan"),
        (["--micro-batches", "0"], "--micro-batches"),
        (["--policy", "nowhere"], "nowhere"),
        (["--out", "FOREIGN"], "thesis.txt"),
    ],
)
def test_a_wrong_setting_is_named_and_leaves_nothing(
    kind: str,
    more: list[str],
    named: str,
    toy_policy: LocalPolicy,
    asked: Path,
    pairs: Path,
    trees: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("precious")
    data = {"token-verifier": pairs, "outcome-verifier": trees}.get(kind)
    words = train_words(kind, toy_policy, data, tmp_path / "out")
    words += ["--problems", str(asked)] if kind == "sft" else []
    assert_refused(
        given(words, [str(foreign) if w == "FOREIGN" else w for w in more]), capsys, named
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["asked.jsonl", "foreign"]


@pytest.mark.parametrize(
    ("kind", "content", "named"),
    [
        ("token-verifier", "", "no pair to train on"),
        ("token-verifier", '{"messages": []}\n', "'messages' is missing or empty"),
        ("token-verifier", "{\n", "line 1: not JSON"),
        ("outcome-verifier", "", "no trees file"),
        ("outcome-verifier", '{"manifest": {}}\n', "0 of 0 graded attempts are right"),
        ("outcome-verifier", '{"manifest": {}}\n{"nodes": []}\n', "tree 1"),
    ],
)
def test_wrong_data_are_named(
    kind: str,
    content: str,
    named: str,
    toy_policy: LocalPolicy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(content)
    assert_refused(train_words(kind, toy_policy, data, tmp_path / "out"), capsys, named)
    assert [path.name for path in tmp_path.iterdir()] == ["data.jsonl"]


def test_gaps_cannot_be_weighed_where_nothing_was_measured(
    toy_policy: LocalPolicy, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{key: row[key] for key in ("messages", "samples")} for row in read_jsonl(pairs)]
    _ = write_jsonl(tmp_path / "bare.jsonl", rows)
    words = train_words("token-verifier", toy_policy, tmp_path / "bare.jsonl", tmp_path / "out")
    assert_refused([*words, "--weighting", "gap"], capsys, "strategy rollout")
