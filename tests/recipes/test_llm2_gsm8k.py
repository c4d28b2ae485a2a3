"""The paper's run as real processes: real GSM8K and MATH files, the real Llama 3 tokenizer.

Only the weights are not real: two random layers, which never reach a right answer.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from system2.engine.local import load_policy
from system2.engine.tokenizer import load_tokenizer
from system2.synthesise.pairs import read_pairs
from system2.verify.folders import load_verifier
from system2.verify.token import TokenVerifier

RECIPES = Path(__file__).resolve().parents[2] / "system2" / "recipes"
SIZES = (
    *("--n-train", "3", "--positions", "2", "--rollouts", "2"),
    *("--n-test", "2", "--samples", "4", "--max-tokens", "6"),
)
METHODS = {"plain", "plausible_only", "llm2_separate"}
PATIENCE_S = 280


def start(*words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for a process; return what it said to stderr."""
    try:
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == code, said
    return said


def kill_when(process: subprocess.Popen[str], path: Path) -> None:
    """Kill a process as soon as it has written a file."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    _ = process.communicate()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights in Llama 3's shape, small, with its real tokenizer."""
    _ = pytest.importorskip("llama_models", reason="it holds Llama 3's tokenizer (extra `test`)")
    folder = tmp_path_factory.mktemp("llama3") / "checkpoint"
    _ = finish(start(RECIPES / "random_checkpoint.py", "llama-3-small", "--out", folder))
    return folder


@pytest.fixture(scope="module")
def finished(
    checkpoint: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, float]]:
    """A run that was killed after its exploration and started again; when the pairs were made."""
    out = tmp_path_factory.mktemp("run") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYSTEM2_DATA", str(shared_data))
        words = (RECIPES / "llm2_gsm8k.py", "--policy", checkpoint, "--out", out, *SIZES)
        kill_when(start(*words), out / "pairs.jsonl")
        explored = (out / "explored" / "00000.jsonl").stat().st_mtime
        _ = finish(start(*words))
        yield out, explored


def results(out: Path, task: str) -> dict[str, Any]:
    return json.loads((out / task / "results.json").read_text())


def test_pairs_fit_the_real_tokenizer_and_no_rollout_was_right(
    finished: tuple[Path, float],
) -> None:
    out, explored = finished
    assert (out / "explored" / "00000.jsonl").stat().st_mtime == explored, "explored twice"
    tokenizer = load_tokenizer(out / "policy")
    rows = list(read_pairs(out / "pairs.jsonl", tokenizer))
    assert len(rows) == 3
    assert tokenizer.decode(rows[0].tokens[:4], with_special=True) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>"
    )
    pairs = [pair for row in rows for pair in row.pairs]
    assert pairs
    assert {pair.rejected_quality for pair in pairs} == {0.0}


def test_the_verifier_has_learned_and_loads_for_its_policy(finished: tuple[Path, float]) -> None:
    out, _ = finished
    verifier, settings = load_verifier(str(out / "verifier"), load_policy(str(out / "policy")))
    assert isinstance(verifier, TokenVerifier)
    assert verifier.layout == "separate"
    assert settings == {"alpha": 0.1, "beta": 0.25}
    assert verifier.top.head.weight.any(), "the head is as it was made: zero"
    assert not (out / "training").exists()


@pytest.mark.parametrize("task", ["gsm8k", "math"])
def test_every_method_is_evaluated_with_intervals(finished: tuple[Path, float], task: str) -> None:
    found = results(finished[0], task)
    rows = {(row["method"], row["decoding"]): row for row in found["rows"]}
    decodings = {"greedy", "sample", "majority@4"}
    assert set(rows) == {(method, decoding) for method in METHODS for decoding in decodings}
    for row in rows.values():
        assert row["n"] == 2
        assert row["low"] <= row["accuracy"] <= row["high"]
        assert row["sampled_tokens"] > 0
    paired = {(row["a"], row["b"]) for row in found["paired"]}
    assert {("llm2_separate", "plain"), ("llm2_separate", "plausible_only")} <= paired
    assert found["manifest"]["config"]["n_train"] == "3"
    assert "LLM2 separate" in (finished[0] / task / "report.html").read_text()


def test_a_folder_of_other_settings_is_refused(
    finished: tuple[Path, float], checkpoint: Path
) -> None:
    recipe, out = RECIPES / "llm2_gsm8k.py", finished[0]
    said = finish(start(recipe, "--policy", checkpoint, "--out", out, "--beta", "0.5"), code=2)
    assert said.splitlines()[-1].startswith(f"llm2_gsm8k: {out} belongs to a run with other")


def test_exploration_without_a_pair_ends_in_one_line(
    finished: tuple[Path, float], checkpoint: Path, tmp_path: Path
) -> None:
    rows = [
        json.loads(line) | {"samples": [], "qualities": []}
        for line in (finished[0] / "pairs.jsonl").read_text().splitlines()
    ]
    (tmp_path / "explored").mkdir()
    _ = (tmp_path / "explored" / "00000.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = RECIPES / "llm2_gsm8k.py"
    said = finish(start(recipe, "--policy", checkpoint, "--out", tmp_path, *SIZES), code=2)
    assert said.splitlines()[-1] == (
        "llm2_gsm8k: there is no pair to train on; explore more problems"
    )


@pytest.mark.slow
def test_two_processes_come_to_the_same_results(
    finished: tuple[Path, float], checkpoint: Path, tmp_path: Path
) -> None:
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2")
    recipe = (RECIPES / "llm2_gsm8k.py", "--policy", checkpoint, "--out", tmp_path, *SIZES)
    _ = finish(start(*launch, *recipe))
    for task in ("gsm8k", "math"):
        assert results(tmp_path, task)["rows"] == results(finished[0], task)["rows"]
    assert (tmp_path / "pairs.jsonl").read_text() == (finished[0] / "pairs.jsonl").read_text()
