"""LLM2 (arXiv 2412.20372) on the embedded model, whole: explore, train, choose, control, compare.

Verifiers see the 7,473 training problems of `word_problems` only; alpha and beta are chosen on
validation problems; the control spends the same core time on more SFT. Every stage goes on
where it was killed. Run: python recipes/llm2_tiny.py --out FOLDER [--stage NAME ...]
"""

import argparse
import copy
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from embedded_model import training_problems  # the recipe beside this one

from system2.core import Problem, Split
from system2.engine.local import load_policy
from system2.engine.tokenizer import read_json
from system2.engine.weights import save_model
from system2.evaluate.compare import Method, attempt_all, paired_rows, result_rows
from system2.store import Journal, make_manifest, read_jsonl, whole_file
from system2.synthesise.pairs import read_pairs
from system2.synthesise.token_quality import ExploreConfig, explore
from system2.tasks import find_task
from system2.train.loop import FitConfig, fit
from system2.train.losses import next_token_loss
from system2.train.sft import example_batches, sft_examples
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
    out: Path, name: str, methods: list[Method], split: Split, n: int, samples: int, processes: int
) -> dict[str, Any]:
    """Attempt problems by every method, resumably; return rows and paired differences."""
    rows = attempt_all(
        out / f"{name}.attempts.jsonl",
        methods,
        list(islice(TASK.problems(split, 0), n)),
        samples=samples,
        max_tokens=MAX_TOKENS,
        processes=processes,
    )
    against = ("plain", "plausible_only", "sft_control")
    return {"rows": result_rows(rows, {}, seed=0), "paired": paired_rows(rows, against, seed=0)}


def choose(out: Path, processes: int) -> None:
    """Choose each layout's alpha and beta on validation problems; write them to its folder."""
    for layout in FITS:
        folder = out / "verifiers" / layout
        methods = [
            Method(f"{alpha} {beta}", verifier=str(folder), alpha=alpha, beta=beta)
            for alpha in ALPHAS
            for beta in BETAS
        ]
        found = compared(out, f"choose_{layout}", methods, "validation", 500, 4, processes)
        sums: dict[str, float] = {}
        for row in found["rows"]:  # greedy, sample and majority@4 count alike
            sums[row["method"]] = sums.get(row["method"], 0.0) + row["accuracy"]
        best = max(sums, key=sums.__getitem__)
        alpha, beta = map(float, best.split())
        described = read_json(folder / "verifier.json")
        described["settings"] = {"alpha": alpha, "beta": beta}
        described["manifest"]["validation"] = found["rows"]
        with whole_file(folder / "verifier.json") as file:
            _ = file.write(json.dumps(described, indent=2).encode())
        print(layout, "alpha", alpha, "beta", beta, sums, flush=True)


def control(out: Path) -> None:
    """Spend the core time of exploring and training the first layout on more SFT instead."""
    torch.set_num_threads(1)
    chunks = read_jsonl(out / "pairs.chunks.jsonl")
    trained = read_json(out / "verifiers" / "separate" / "verifier.json")["manifest"]
    seconds = sum(chunk["core_s"] for chunk in chunks) + 60 * trained["core_minutes"]
    policy = load_policy("tiny")
    words, countdown = training_problems(1)
    examples = sft_examples(policy.tokenizer, words + countdown)
    batches, _ = example_batches(examples, policy.tokenizer.pad, max_tokens=512, seed=1)
    started = time.process_time()
    warm = FitConfig(50, 1e-9)
    _ = list(fit(copy.deepcopy(policy.model), batches, next_token_loss, warm))
    steps = round(seconds / (time.process_time() - started) * 50)
    how = FitConfig(steps, 1e-3, final_rate=0.03, hold=0.2, ema=0.999)
    work = out / "sft_control.partial"
    for report in fit(policy.model.train(), batches, next_token_loss, how, folder=work):
        if report.step % 500 == 0:
            print("sft_control", report.step, steps, f"{report.loss:.4f}", flush=True)
    manifest = asdict(make_manifest("recipes/llm2_tiny.py control", asdict(how)))
    record = json.dumps({**manifest, "core_minutes": seconds / 60}, indent=2)
    save_model(
        out / "sft_control", policy.model, policy.tokenizer.folder, dtype=torch.float16,
        extra={"manifest.json": record.encode()},
    )  # fmt: skip


def compare(out: Path, n: int, processes: int) -> None:
    """Compare everything on test problems; write results.json."""
    methods = [
        Method("plain", verifier=str(out / "verifiers" / "outcome")),
        Method("plausible_only", alpha=ALPHAS[0]),
        Method("contrastive", amateur="tiny-amateur", alpha=ALPHAS[0]),
        Method("sft_control", policy=str(out / "sft_control")),
        *(Method(f"llm2_{layout}", verifier=str(out / "verifiers" / layout)) for layout in FITS),
    ]
    found = compared(out, "compare", methods, "test", n, 20, processes)
    with whole_file(out / "results.json") as file:
        _ = file.write(json.dumps(found, indent=1).encode())
    for row in found["rows"] + found["paired"]:
        print(json.dumps(row), flush=True)


def main() -> None:
    """Read the arguments and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    stages = ["explore", *FITS, "choose", "control", "compare"]
    parser.add_argument("--stage", nargs="*", default=stages)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--n", type=int, default=1_000)
    arguments = parser.parse_args()
    out, processes = arguments.out, arguments.processes
    out.mkdir(parents=True, exist_ok=True)
    run = {
        "explore": lambda: explore_all(out, processes),
        **{layout: partial(train, out, layout) for layout in FITS},
        "choose": lambda: choose(out, processes),
        "control": lambda: control(out),
        "compare": lambda: compare(out, arguments.n, processes),
    }
    for stage in arguments.stage:
        run[stage]()


if __name__ == "__main__":
    main()
