"""The demo: killed once on its way, it ends with a report of every method."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import system2
from system2.engine.embedded import EMBEDDED, EMBEDDED_VERIFIERS

SHIPPED = [*EMBEDDED.values(), *EMBEDDED_VERIFIERS.values()]
N = 10
TOKEN_METHODS = ("plain", "plausible_only", "contrastive", "sft_control")
LLM2 = ("llm2_separate", "llm2_shared", "llm2_vocab")
DECODINGS = ("greedy", "sample", "majority@4", "majority@20")


def start(out: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "system2", "demo", "--out", str(out), "--n", str(N), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kept(out: Path) -> list[bytes]:
    path = out / "attempts.jsonl.partial"
    return path.read_bytes().splitlines() if path.exists() else []


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[bytes]]:
    out = tmp_path_factory.mktemp("demo") / "out"
    killed = start(out)
    while len(kept(out)) < 4 and killed.poll() is None:
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    _ = killed.communicate()
    before = kept(out)
    assert len(before) >= 4, "it ended before it could be killed"
    assert not (out / "results.json").exists()
    done, complaint = start(out).communicate(timeout=500)
    assert done, complaint
    return out, json.loads(done.splitlines()[-1]), before


def test_what_was_done_before_the_kill_is_not_done_again(
    finished: tuple[Path, dict[str, Any], list[bytes]],
) -> None:
    out, _, before = finished
    rows = (out / "attempts.jsonl").read_bytes().splitlines()
    assert rows[: len(before)] == before
    attempted = [
        (row["method"], row["decoding"], row["problem"])
        for line in rows[1:]
        for row in json.loads(line)["rows"]
    ]
    assert len(attempted) == len(set(attempted)) == 2 * N * len(TOKEN_METHODS + LLM2)


def test_every_method_has_every_decoding(
    finished: tuple[Path, dict[str, Any], list[bytes]],
) -> None:
    out, _, _ = finished
    results = json.loads((out / "results.json").read_text())
    rows = {(row["method"], row["decoding"]): row for row in results["rows"]}
    expected = {(m, d) for m in TOKEN_METHODS + LLM2 for d in DECODINGS}
    expected |= {("outcome_best_of_n", d) for d in DECODINGS[2:]}
    assert set(rows) == expected
    for row in rows.values():
        assert row["n"] == N
        assert 0 <= row["low"] <= row["accuracy"] <= row["high"] <= 1
        assert row["sampled_tokens"] > 0
    assert rows["plain", "greedy"]["cost_ratio"] == 1
    assert rows["llm2_separate", "greedy"]["cost_ratio"] > 1
    pairs = {(row["a"], row["b"]) for row in results["paired"]}
    assert {(m, b) for m in LLM2 for b in ("plain", "plausible_only", "sft_control")} <= pairs
    assert results["manifest"]["config"]["n"] == N


def test_the_report_needs_nothing_else(
    finished: tuple[Path, dict[str, Any], list[bytes]],
) -> None:
    out, said, _ = finished
    assert said["report"] == str(out / "report.html")
    page = (out / "report.html").read_text()
    assert "<svg" in page
    for method in TOKEN_METHODS + LLM2 + ("outcome_best_of_n",):
        assert method in page or method.replace("_", " ") in page
    for outside in ("<script src", "<link ", "@import", 'src="http', "url(http"):
        assert outside not in page


def test_a_live_verifier_is_left_to_use(
    finished: tuple[Path, dict[str, Any], list[bytes]],
) -> None:
    out, _, _ = finished
    live = json.loads((out / "results.json").read_text())["live"]
    assert live["pairs"] > 0
    assert live["steps"] > 0
    assert (Path(live["folder"]) / "verifier.json").exists()


def test_what_is_shipped_fits() -> None:
    package = Path(system2.__file__).parent
    for family, most in (("tiny", 8), ("tiny_countdown", 4)):
        files = [path for path in (package / family).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) <= most * 2**20
        assert {package / family} <= {parent for folder in SHIPPED for parent in folder.parents}
