"""LLM2 (arXiv 2412.20372) on the embedded model, whole: explore, train, choose, control, compare.

Verifiers see the 7,473 training problems of `word_problems` only; alpha and beta are chosen on
validation problems; the control spends the same core time on more SFT. Every stage goes on
where it was killed. Run: python recipes/llm2_tiny.py --out FOLDER [--stage NAME ...]
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from system2.core import Problem
from system2.engine import local, tokenizer, weights
from system2.evaluate import choose, compare, solve
from system2.jobs import do_all
from system2.store import make_manifest, read_jsonl, write_jsonl
from system2.synthesise import pairs, token_quality
from system2.tasks import find_task
from system2.train import loop, losses, outcome, sft
from system2.train.token_verifier import VerifierFit, fit_token_verifier
from system2.verify import folders

TASK, MAX_TOKENS, NUM_TRAIN = find_task("word_problems"), 100, 7_473
EXPLORE = token_quality.ExploreConfig(
    alpha=0.02, max_positions=4, max_tokens=MAX_TOKENS, measures_reference=True
)
ATTEMPTS = solve.SolveConfig("sample", samples=8, max_tokens=MAX_TOKENS)
SMALL = {"max_tokens": 1024, "micro_batches": 1}
FITS = {
    "separate": VerifierFit("separate", learning_rate=3e-4, **SMALL),
    "shared": VerifierFit("shared", 1, learning_rate=1e-3, **SMALL),
    "vocab": VerifierFit("vocab", 1, learning_rate=1e-3, **SMALL),
    "outcome": outcome.OutcomeFit(1, learning_rate=1e-3, **SMALL),
}
LAYOUTS, ALPHA, BETAS = ("separate", "shared", "vocab"), 0.1, (0.25, 0.5, 1.0, 2.0)
BASELINES = ("plain", "plausible_only", "sft_control")


def problems_of(split: Any, n: int) -> list[Problem]:
    """Return the first n word problems of a split."""
    return list(islice(TASK.problems(split, 0), n))


def measured(make: str, problems: Sequence[Problem]) -> dict[str, Any]:
    """Explore problems, or attempt them, in a process of its own; return rows and core seconds."""
    torch.set_num_threads(1)
    started, policy = time.process_time(), local.load_policy("tiny", max_rows=128)
    explored = token_quality.explore(policy, TASK, problems, EXPLORE)
    attempted = solve.solve(policy, TASK, problems, ATTEMPTS)
    rows = list(explored if make == "explore" else attempted)
    return {"rows": rows, "core_s": time.process_time() - started}


def told(stage: str, done: int, of: int) -> None:
    """Say how far a stage is."""
    print(f"{stage}: {done} of {of}", flush=True)


def make_data(out: Path, make: str, processes: int) -> None:
    """Write what all training problems give: pairs of tokens, or attempts."""
    problems = problems_of("train", NUM_TRAIN)
    chunks = [problems[i : i + 64] for i in range(0, len(problems), 64)]
    config = asdict(EXPLORE if make == "explore" else ATTEMPTS)
    do, on_job = partial(measured, make), partial(told, make)
    do_all(out / f"{make}.jsonl", config, do, chunks, processes=processes, on_job=on_job)


def train(out: Path, name: str) -> None:
    """Train one verifier on what `make_data` wrote."""
    torch.set_num_threads(1)
    policy, how, started = local.load_policy("tiny"), FITS[name], time.process_time()
    is_outcome = isinstance(how, outcome.OutcomeFit)
    chunks = list(read_jsonl(out / f"{'attempts' if is_outcome else 'explore'}.jsonl"))[1:]
    rows = [row for chunk in chunks for row in chunk["rows"]]
    if isinstance(how, outcome.OutcomeFit):
        data = list(outcome.solutions_of(rows, policy.tokenizer))
        made = outcome.fit_outcome_verifier(policy.model, data, how, folder=out / f"{name}.partial")
    else:
        write_jsonl(out / "pairs.jsonl", rows)
        data = list(pairs.read_pairs(out / "pairs.jsonl", policy.tokenizer))
        made = fit_token_verifier(policy.model, data, how, folder=out / f"{name}.partial")
    verifier, steps, reports = made
    for report in reports:
        if report.step % 100 == 0 or report.step == steps - 1:
            print(name, report.step, f"{report.loss:.4f}", flush=True)
    data_s, training_s = sum(c["core_s"] for c in chunks), time.process_time() - started
    minutes = {"data": data_s / 60, "training": training_s / 60}
    record = {**asdict(make_manifest("llm2_tiny", asdict(how))), "core_minutes": minutes}
    to, half = out / "verifiers" / name, torch.float16
    folders.save_verifier(to, verifier.eval(), policy.tokenizer, manifest=record, dtype=half)


def choose_settings(out: Path, processes: int) -> None:
    """Write to each verifier's folder the beta that served validation problems best."""
    how = {"alphas": [ALPHA], "betas": BETAS, "max_tokens": MAX_TOKENS, "processes": processes}
    for name in LAYOUTS:
        path, folder = out / f"choose_{name}.jsonl", out / "verifiers" / name
        found = choose.choose_settings(path, str(folder), problems_of("validation", 500), **how)
        settings = {"alpha": found.alpha, "beta": found.beta}
        folders.write_settings(folder, settings, {"validation": found.rows})
        print(name, settings, flush=True)


def control(out: Path) -> None:
    """Spend the core time of exploring and of training `separate` on more SFT instead."""
    torch.set_num_threads(1)
    described = tokenizer.read_json(out / "verifiers" / "separate" / "verifier.json")
    policy, minutes = local.load_policy("tiny"), sum(described["manifest"]["core_minutes"].values())
    examples = sft.sft_examples(policy.tokenizer, problems_of("train", NUM_TRAIN))
    batches, _ = sft.example_batches(examples, policy.tokenizer.pad, max_tokens=512, seed=1)
    started, warm = time.process_time(), loop.FitConfig(100, 1e-9)
    _ = list(loop.fit(local.load_policy("tiny").model, batches, losses.next_token_loss, warm))
    steps = round(60 * minutes / (time.process_time() - started) * 100)
    how = loop.FitConfig(steps, 1e-3, final_rate=0.03, hold=0.2, ema=0.999)
    work = out / "sft_control.partial"
    for report in loop.fit(policy.model, batches, losses.next_token_loss, how, folder=work):
        if report.step % 500 == 0:
            print("sft_control", report.step, steps, f"{report.loss:.4f}", flush=True)
    record = {**asdict(make_manifest("llm2_tiny", asdict(how))), "core_minutes": minutes}
    files = {"manifest.json": json.dumps(record, indent=1).encode()}
    to, source, half = out / "sft_control", policy.tokenizer.folder, torch.float16
    weights.save_model(to, policy.model, source, dtype=half, extra=files)


def compare_all(out: Path, n: int, processes: int) -> None:
    """Compare everything on test problems; write results.json."""
    methods = [
        compare.Method("plain", verifier=str(out / "verifiers" / "outcome")),
        compare.Method("plausible_only", alpha=ALPHA),
        compare.Method("contrastive", amateur="tiny-amateur", alpha=ALPHA),
        compare.Method("sft_control", policy=str(out / "sft_control")),
        *(compare.Method(f"llm2_{n}", verifier=str(out / "verifiers" / n)) for n in LAYOUTS),
    ]
    how = {"samples": 20, "max_tokens": MAX_TOKENS, "processes": processes}
    on_job, path = partial(told, "compare"), out / "compare.jsonl"
    rows = compare.attempt_all(path, methods, problems_of("test", n), on_job=on_job, **how)
    paired = compare.paired_rows(rows, BASELINES, seed=0)
    found = {"rows": compare.result_rows(rows, {}, seed=0), "paired": paired}
    write_jsonl(out / "results.json", [found])
    for row in found["rows"] + found["paired"]:
        print(json.dumps(row), flush=True)


def main() -> None:
    """Read the arguments and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--n", type=int, default=2_000)
    parser.add_argument("--stage", nargs="*")
    run = parser.parse_args()
    run.out.mkdir(parents=True, exist_ok=True)
    stages = {
        "explore": lambda: make_data(run.out, "explore", run.processes),
        "attempts": lambda: make_data(run.out, "attempts", run.processes),
        **{name: partial(train, run.out, name) for name in FITS},
        "choose": lambda: choose_settings(run.out, run.processes),
        "control": lambda: control(run.out),
        "compare": lambda: compare_all(run.out, run.n, run.processes),
    }
    for name in run.stage or stages:
        stages[name]()


if __name__ == "__main__":
    main()
