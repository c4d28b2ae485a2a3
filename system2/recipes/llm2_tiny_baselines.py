"""What LLM2 on the embedded model is compared with: an outcome verifier, and as much more SFT.

The outcome verifier learns from the policy's own attempts at the 7,473 training problems; the
control spends the core time of exploring and of training `vocab` (after llm2_tiny.py made it) on
more SFT of the same problems. Run: python system2/recipes/llm2_tiny_baselines.py --out FOLDER
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from system2.core import Problem
from system2.engine.local import load_policy
from system2.engine.tokenizer import read_json
from system2.engine.weights import find_checkpoint, save_model
from system2.evaluate.solve import SolveConfig, solve
from system2.jobs import do_all
from system2.store import hash_files, make_manifest
from system2.tasks import find_task
from system2.train.loop import FitConfig, fit, forget_training
from system2.train.losses import next_token_loss
from system2.train.outcome import OutcomeFit, fit_outcome_verifier, solutions_of
from system2.train.sft import example_batches, sft_examples
from system2.verify.folders import save_verifier

TASK = find_task("word_problems")
ATTEMPTS = SolveConfig("sample", samples=8, max_tokens=100)
OUTCOME = OutcomeFit(1, learning_rate=1e-3, max_tokens=2048, micro_batches=1)
RATE = 1e-3
"""The control's learning rate at its peak: a third of the base's."""


def attempted(problems: Sequence[Problem]) -> dict[str, Any]:
    """Attempt problems in a process of its own."""
    torch.set_num_threads(1)
    policy = load_policy("tiny", max_rows=512)
    return {"rows": list(solve(policy, TASK, problems, ATTEMPTS))}


def train_outcome(out: Path, problems: list[Problem], processes: int) -> None:
    """Sample attempts at the problems, and learn their outcomes."""
    chunks = [problems[i : i + 64] for i in range(0, len(problems), 64)]
    weights = hash_files([find_checkpoint("tiny") / "model.safetensors"])
    config = {**asdict(ATTEMPTS), "n": len(problems), "weights": weights}
    done = do_all(
        out / "attempts.jsonl", config, attempted, chunks, processes=processes,
        on_job=lambda done, of: print(f"attempts: {done} of {of}", flush=True),
    )  # fmt: skip
    torch.set_num_threads(1)
    policy, work = load_policy("tiny"), out / "outcome.partial"
    rows = (row for chunk in done for row in chunk["rows"])
    solutions = list(solutions_of(rows, policy.tokenizer))
    verifier, steps, reports = fit_outcome_verifier(policy.model, solutions, OUTCOME, folder=work)
    for report in reports:
        if report.step % 100 == 0 or report.step == steps - 1:
            print("outcome", report.step, f"{report.loss:.4f}", flush=True)
    manifest = asdict(make_manifest("recipes/llm2_tiny_baselines.py", asdict(OUTCOME), seed=42))
    to, half = out / "verifiers" / "outcome", torch.float16
    save_verifier(to, verifier.eval(), policy.tokenizer, manifest=manifest, dtype=half)
    forget_training(work)


def train_control(out: Path, problems: list[Problem]) -> None:
    """Spend on more SFT the core time that `vocab` took."""
    torch.set_num_threads(1)
    described = read_json(out / "verifiers" / "vocab" / "verifier.json")
    policy, minutes = load_policy("tiny"), sum(described["manifest"]["core_minutes"].values())
    examples = sft_examples(policy.tokenizer, problems)
    batches, _ = example_batches(examples, policy.tokenizer.pad, max_tokens=512, seed=1)
    started, warm = time.process_time(), FitConfig(100, 1e-9)
    _ = list(fit(load_policy("tiny").model, batches, next_token_loss, warm))
    steps = round(60 * minutes / (time.process_time() - started) * 100)
    how = FitConfig(steps, RATE, final_rate=0.03, hold=0.2, ema=0.999)
    work = out / "sft_control.partial"
    for report in fit(policy.model, batches, next_token_loss, how, folder=work):
        if report.step % 500 == 0:
            print("sft_control", report.step, "of", steps, f"{report.loss:.4f}", flush=True)
    manifest = asdict(make_manifest("recipes/llm2_tiny_baselines.py", asdict(how), seed=how.seed))
    record = json.dumps({**manifest, "core_minutes": minutes}, indent=2)
    files, half = {"manifest.json": record.encode()}, torch.float16
    to, source = out / "sft_control", policy.tokenizer.folder
    save_model(to, policy.model, source, dtype=half, extra=files)
    forget_training(work)


def main() -> None:
    """Read the arguments and make both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--n-train", type=int, default=7_473)
    parser.add_argument("--only", choices=["outcome", "control"])
    run = parser.parse_args()
    problems = list(islice(TASK.problems("train", 0), run.n_train))
    if run.only != "control":
        train_outcome(run.out, problems, run.processes)
    if run.only != "outcome":
        train_control(run.out, problems)


if __name__ == "__main__":
    main()
