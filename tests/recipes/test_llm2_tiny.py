"""The recipe of the embedded verifiers, on a few problems: every stage real, once killed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from system2.engine.local import load_policy
from system2.store import read_jsonl
from system2.verify.folders import load_verifier

RECIPES = Path(__file__).parents[2] / "system2" / "recipes"
FEW = ["--n-train", "70", "--n-validation", "6", "--n-test", "6", "--processes", "1"]


def start(out: Path, *stages: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(RECIPES / "llm2_tiny.py"), "--out", str(out), *FEW, "--stage"]
    return subprocess.Popen([*command, *stages], stdout=subprocess.DEVNULL, text=True)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    out = tmp_path_factory.mktemp("llm2_tiny") / "out"
    stages = ("explore", "separate", "shared", "vocab")
    killed, partial = start(out, *stages), out / "explored.jsonl.partial"
    while killed.poll() is None and not (
        partial.exists() and partial.read_bytes().count(b"\n") > 1
    ):
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    _ = killed.wait()
    first = partial.read_bytes().splitlines()[1]
    assert start(out, *stages).wait(timeout=280) == 0
    command = [sys.executable, str(RECIPES / "llm2_tiny_baselines.py"), "--out", str(out)]
    _ = subprocess.run([*command, "--n-train", "24", "--processes", "1"], check=True)
    assert start(out, "choose", "compare").wait(timeout=280) == 0
    return out, first


@pytest.mark.timeout(900)
def test_what_was_explored_before_the_kill_is_kept(finished: tuple[Path, bytes]) -> None:
    out, first = finished
    assert (out / "explored.jsonl").read_bytes().splitlines()[1] == first
    assert len(list(read_jsonl(out / "pairs.jsonl"))) == 2 * 70, "by rollouts, and without"


def test_each_verifier_says_how_it_was_made(finished: tuple[Path, bytes]) -> None:
    out, _ = finished
    policy = load_policy("tiny")
    for layout in ("separate", "shared", "vocab"):
        folder = out / "verifiers" / layout
        _, settings = load_verifier(str(folder), policy)
        made = json.loads((folder / "verifier.json").read_text())["manifest"]
        assert settings["alpha"] == 0.1
        assert settings["beta"] in (0.25, 0.5, 1.0, 2.0)
        assert made["core_minutes"]["exploring"] > 0
        assert {row["n"] for row in made["validation"]} == {6}


def test_everything_is_compared(finished: tuple[Path, bytes]) -> None:
    out, _ = finished
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    methods = {row["method"] for row in found["rows"]}
    assert methods == {
        "plain", "plausible_only", "contrastive", "outcome_best_of_n", "sft_control",
        "llm2_separate", "llm2_shared", "llm2_vocab",
    }  # fmt: skip
    assert {row["b"] for row in found["paired"]} == {"plain", "plausible_only", "sft_control"}
