"""LLM2 (arXiv 2412.20372) on the embedded model, whole: explore, train, choose, control, compare.

Verifiers see the 7,473 training problems of `word_problems` only; alpha and beta are chosen on
validation problems; the control spends the same core time on more SFT. Every stage goes on
where it was killed. Run: python recipes/llm2_tiny.py --out FOLDER [--stage NAME ...]
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from system2.core import Problem
from system2.engine.local import load_policy
from system2.evaluate.compare import Method, jobs_of, paired_rows, result_rows, run_jobs
from system2.store import Journal, make_manifest, read_jsonl, whole_file
from system2.synthesise.pairs import read_pairs
from system2.synthesise.token_quality import ExploreConfig, explore
from system2.tasks import find_task
from system2.train.token_verifier import VerifierFit, fit_token_verifier
from system2.verify.folders import save_verifier

TASK = find_task("word_problems")
MAX_TOKENS = 100
EXPLORE = ExploreConfig(
    alpha=0.02,
    max_positions=4,
    max_proposals=2,
    rollouts=8,
    max_tokens=MAX_TOKENS,
    measures_reference=True,
)
FITS = {
    "separate": VerifierFit("separate", learning_rate=2e-4, max_tokens=1024, micro_batches=1),
    "shared": VerifierFit("shared", 1, learning_rate=5e-4, max_tokens=1024, micro_batches=1),
    "vocab": VerifierFit("vocab", 1, learning_rate=5e-4, max_tokens=1024, micro_batches=1),
}
ALPHAS, BETAS = (0.1,), (0.25, 0.5, 1.0, 2.0)


def explore_some(problems: Sequence[Problem]) -> tuple[list[dict[str, Any]], float]:
    """Explore some problems in a process of their own; return rows and core seconds."""
    torch.set_num_threads(1)
    started = time.process_time()
    policy = load_policy("tiny", max_rows=128)
    rows = list(explore(policy, TASK, problems, EXPLORE))
    return rows, time.process_time() - started


def explore_all(out: Path, processes: int) -> None:
    """Write the pairs of all training problems."""
    problems = list(TASK.problems("train", 0))
    chunks = [problems[i : i + 64] for i in range(0, len(problems), 64)]
    with Journal(out / "pairs.chunks.jsonl", asdict(EXPLORE)) as journal:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            for rows, seconds in pool.map(explore_some, chunks[len(journal) :]):
                journal.append({"rows": rows, "core_s": seconds})
                print(f"explored {len(journal)} of {len(chunks)} chunks", flush=True)
        found = list(journal)
        with whole_file(out / "pairs.jsonl") as file:
            for row in (row for chunk in found for row in chunk["rows"]):
                _ = file.write(json.dumps(row).encode() + b"\n")
        journal.finish()


def train(out: Path, layout: str) -> None:
    """Train one verifier on the pairs."""
    torch.set_num_threads(1)
    policy = load_policy("tiny")
    rows = list(read_pairs(out / "pairs.jsonl", policy.tokenizer))
    fit = FITS[layout]
    started = time.process_time()
    verifier, steps, reports = fit_token_verifier(
        policy.model, rows, fit, folder=out / f"{layout}.partial"
    )
    for report in reports:
        if report.step % 100 == 0 or report.step == steps - 1:
            print(layout, report.step, f"{report.loss:.4f}", flush=True)
    manifest = asdict(make_manifest("recipes/llm2_tiny.py", asdict(fit)))
    record = {**manifest, "core_minutes": (time.process_time() - started) / 60}
    folder = out / "verifiers" / layout
    save_verifier(folder, verifier.eval(), policy.tokenizer, manifest=record, dtype=torch.float16)


def compared(
    out: Path, name: str, methods: list[Method], split: str, n: int, samples: int, processes: int
) -> dict[str, Any]:
    """Attempt problems by every method, resumably; return rows and paired differences."""
    problems = list(islice(TASK.problems(split, 0), n))  # pyright: ignore[reportArgumentType]
    jobs = jobs_of(methods, problems, samples=samples, max_tokens=MAX_TOKENS, seed=0)
    config = {"methods": [asdict(m) for m in methods], "split": split, "n": n, "samples": samples}
    with Journal(out / f"{name}.attempts.jsonl", config) as journal:
        for rows in run_jobs(jobs[len(journal) :], processes=processes):
            journal.append({"rows": rows})
        rows = [row for job in journal for row in job["rows"]]
    against = ("plain", "plausible_only", "sft_control")
    return {"rows": result_rows(rows, {}, seed=0), "paired": paired_rows(rows, against, seed=0)}


def main() -> None:
    """Read the arguments and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stage", nargs="*", default=["explore", *FITS])
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for stage in arguments.stage:
        if stage == "explore":
            explore_all(arguments.out, arguments.processes)
        elif stage in FITS:
            train(arguments.out, stage)


if __name__ == "__main__":
    main()
