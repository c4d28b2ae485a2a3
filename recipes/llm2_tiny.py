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
from system2.engine.local import load_policy
from system2.engine.tokenizer import read_json
from system2.engine.weights import save_model
from system2.evaluate.choose import choose_settings
from system2.evaluate.compare import Method, attempt_all, paired_rows, result_rows
from system2.evaluate.solve import SolveConfig, solve
from system2.jobs import do_all
from system2.store import make_manifest, read_jsonl, write_jsonl
from system2.synthesise.pairs import read_pairs
from system2.synthesise.token_quality import ExploreConfig, explore
from system2.tasks import find_task
from system2.train.loop import FitConfig, fit
from system2.train.losses import next_token_loss
from system2.train.outcome import OutcomeFit, fit_outcome_verifier, solutions_of
from system2.train.sft import example_batches, sft_examples
from system2.train.token_verifier import VerifierFit, fit_token_verifier
from system2.verify.folders import save_verifier, write_settings

TASK, MAX_TOKENS, NUM_TRAIN = find_task("word_problems"), 100, 7_473
EXPLORE = ExploreConfig(
    alpha=0.02, max_positions=4, max_tokens=MAX_TOKENS, measures_reference=True
)  # fmt: skip
ATTEMPTS = SolveConfig("sample", samples=8, max_tokens=MAX_TOKENS)
SMALL = {"max_tokens": 1024, "micro_batches": 1}
FITS = {
    "separate": VerifierFit("separate", learning_rate=3e-4, **SMALL),
    "shared": VerifierFit("shared", 1, learning_rate=1e-3, **SMALL),
    "vocab": VerifierFit("vocab", 1, learning_rate=1e-3, **SMALL),
    "outcome": OutcomeFit(1, learning_rate=1e-3, **SMALL),
}
LAYOUTS = ("separate", "shared", "vocab")
ALPHAS, BETAS = (0.1,), (0.25, 0.5, 1.0, 2.0)
BASELINES = ("plain", "plausible_only", "sft_control")


def measured(make: str, problems: Sequence[Problem]) -> dict[str, Any]:
    """Explore problems, or attempt them, in a process of its own; return rows and core seconds."""
    torch.set_num_threads(1)
    started, policy = time.process_time(), load_policy("tiny", max_rows=128)
    some = explore(policy, TASK, problems, EXPLORE) if make == "explore" else solve(
        policy, TASK, problems, ATTEMPTS
    )  # fmt: skip
    return {"rows": list(some), "core_s": time.process_time() - started}


def make_data(out: Path, make: str, processes: int) -> None:
    """Write what all training problems give: pairs of tokens, or attempts."""
    problems = list(islice(TASK.problems("train", 0), NUM_TRAIN))
    chunks = [problems[i : i + 64] for i in range(0, len(problems), 64)]
    config = asdict(EXPLORE if make == "explore" else ATTEMPTS)
    do_all(
        out / f"{make}.jsonl", config, partial(measured, make), chunks, processes=processes,
        on_job=lambda done, of: print(f"{make}: {done} of {of}", flush=True),
    )  # fmt: skip


def train(out: Path, name: str) -> None:
    """Train one verifier on what `make_data` wrote."""
    torch.set_num_threads(1)
    policy, fitting, started = load_policy("tiny"), FITS[name], time.process_time()
    source = out / ("attempts.jsonl" if name == "outcome" else "explore.jsonl")
    chunks = list(read_jsonl(source))[1:]
    rows = [row for chunk in chunks for row in chunk["rows"]]
    folder = out / f"{name}.partial"
    if isinstance(fitting, OutcomeFit):
        solutions = list(solutions_of(rows, policy.tokenizer))
        made = fit_outcome_verifier(policy.model, solutions, fitting, folder=folder)
    else:
        write_jsonl(out / "pairs.jsonl", rows)
        pairs = list(read_pairs(out / "pairs.jsonl", policy.tokenizer))
        made = fit_token_verifier(policy.model, pairs, fitting, folder=folder)
    verifier, steps, reports = made
    for report in reports:
        if report.step % 100 == 0 or report.step == steps - 1:
            print(name, report.step, f"{report.loss:.4f}", flush=True)
    core_minutes = {
        "data": sum(chunk["core_s"] for chunk in chunks) / 60,
        "training": (time.process_time() - started) / 60,
    }
    manifest = asdict(make_manifest("recipes/llm2_tiny.py", asdict(fitting)))
    record = {**manifest, "core_minutes": core_minutes}
    to = out / "verifiers" / name
    save_verifier(to, verifier.eval(), policy.tokenizer, manifest=record, dtype=torch.float16)


def choose(out: Path, processes: int) -> None:
    """Write to each verifier's folder the alpha and beta that served validation problems best."""
    problems = list(islice(TASK.problems("validation", 0), 500))
    for layout in LAYOUTS:
        found = choose_settings(
            out / f"choose_{layout}.jsonl", str(out / "verifiers" / layout), problems,
            alphas=ALPHAS, betas=BETAS, max_tokens=MAX_TOKENS, processes=processes,
        )  # fmt: skip
        settings = {"alpha": found.alpha, "beta": found.beta}
        write_settings(out / "verifiers" / layout, settings, {"validation": found.rows})
        print(layout, settings, flush=True)


def control(out: Path) -> None:
    """Spend the core time of exploring and of training `separate` on more SFT instead."""
    torch.set_num_threads(1)
    spent = read_json(out / "verifiers" / "separate" / "verifier.json")["manifest"]["core_minutes"]
    policy, minutes = load_policy("tiny"), sum(spent.values())
    examples = sft_examples(policy.tokenizer, list(islice(TASK.problems("train", 0), NUM_TRAIN)))
    batches, _ = example_batches(examples, policy.tokenizer.pad, max_tokens=512, seed=1)
    started = time.process_time()
    _ = list(fit(load_policy("tiny").model, batches, next_token_loss, FitConfig(100, 1e-9)))
    steps = round(60 * minutes / (time.process_time() - started) * 100)
    how = FitConfig(steps, 1e-3, final_rate=0.03, hold=0.2, ema=0.999)
    work = out / "sft_control.partial"
    for report in fit(policy.model.train(), batches, next_token_loss, how, folder=work):
        if report.step % 500 == 0:
            print("sft_control", report.step, steps, f"{report.loss:.4f}", flush=True)
    record = {**asdict(make_manifest("recipes/llm2_tiny.py", asdict(how))), "core_minutes": minutes}
    extra = {"manifest.json": json.dumps(record, indent=1).encode()}
    to, tokenizer = out / "sft_control", policy.tokenizer.folder
    save_model(to, policy.model, tokenizer, dtype=torch.float16, extra=extra)


def compare(out: Path, n: int, processes: int) -> None:
    """Compare everything on test problems; write results.json."""
    methods = [
        Method("plain", verifier=str(out / "verifiers" / "outcome")),
        Method("plausible_only", alpha=ALPHAS[0]),
        Method("contrastive", amateur="tiny-amateur", alpha=ALPHAS[0]),
        Method("sft_control", policy=str(out / "sft_control")),
        *(Method(f"llm2_{name}", verifier=str(out / "verifiers" / name)) for name in LAYOUTS),
    ]
    rows = attempt_all(
        out / "compare.jsonl", methods, list(islice(TASK.problems("test", 0), n)),
        samples=20, max_tokens=MAX_TOKENS, processes=processes,
        on_job=lambda done, of: print(f"compare: {done} of {of}", flush=True),
    )  # fmt: skip
    paired = paired_rows(rows, BASELINES, seed=0)
    found = {"rows": result_rows(rows, {}, seed=0), "paired": paired}
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
    arguments = parser.parse_args()
    out, processes = arguments.out, arguments.processes
    out.mkdir(parents=True, exist_ok=True)
    stages = {
        "explore": lambda: make_data(out, "explore", processes),
        "attempts": lambda: make_data(out, "attempts", processes),
        **{name: partial(train, out, name) for name in FITS},
        "choose": lambda: choose(out, processes),
        "control": lambda: control(out),
        "compare": lambda: compare(out, arguments.n, processes),
    }
    for name in arguments.stage or stages:
        stages[name]()


if __name__ == "__main__":
    main()
