"""LLM2 (arXiv 2412.20372) on the embedded model: explore, train three layouts, choose, compare.

Verifiers see the 7,473 training problems of `word_problems` only; beta is chosen on validation
problems. What it is compared with is made by llm2_tiny_baselines.py. Every stage goes on where
it was killed. Run: python system2/recipes/llm2_tiny.py --out FOLDER [--stage NAME ...]
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
from system2.engine.weights import find_checkpoint
from system2.evaluate import compare
from system2.evaluate.choose import choose_gate, choose_settings
from system2.jobs import do_all
from system2.store import hash_files, make_manifest, read_jsonl, write_jsonl
from system2.synthesise.pairs import read_pairs
from system2.synthesise.token_quality import ExploreConfig, explore
from system2.tasks import find_task
from system2.train.loop import forget_training
from system2.train.token_verifier import VerifierFit, fit_token_verifier
from system2.verify.folders import save_verifier, write_settings

TASK, MAX_TOKENS = find_task("word_problems"), 100
EXPLORE = (
    ExploreConfig(alpha=0.02, max_positions=6, max_tokens=MAX_TOKENS, measures_reference=True),
    ExploreConfig("expert", alpha=0.01, max_positions=12, max_proposals=3),
)
"""The paper's pairs, and three times as many cheap ones (docs/log.md has each alone)."""
SMALL: dict[str, Any] = {"max_tokens": 512, "micro_batches": 1}
FITS = {
    "separate": VerifierFit("separate", learning_rate=3e-4, **SMALL),
    "shared": VerifierFit("shared", 2, learning_rate=1e-3, **SMALL),
    "vocab": VerifierFit("vocab", 1, learning_rate=1e-3, **SMALL),
}
ALPHA, BETAS = 0.1, (0.25, 0.5, 1.0, 2.0)


def problems_of(split: Any, n: int) -> list[Problem]:
    """Return the first n word problems of a split."""
    return list(islice(TASK.problems(split, 0), n))


def told(stage: str, done: int, of: int) -> None:
    """Say how far a stage is."""
    print(f"{stage}: {done} of {of}", flush=True)


def explored(part: tuple[ExploreConfig, Sequence[Problem]]) -> dict[str, Any]:
    """Explore problems in a process of its own; return the rows and the core seconds."""
    torch.set_num_threads(1)
    started, policy = time.process_time(), load_policy("tiny", max_rows=512)
    rows = list(explore(policy, TASK, part[1], part[0]))
    return {"rows": rows, "core_s": time.process_time() - started}


def explore_all(out: Path, n: int, processes: int) -> None:
    """Write the pairs of training problems, and what they cost."""
    problems, weights = problems_of("train", n), [find_checkpoint("tiny") / "model.safetensors"]
    parts = [(how, problems[i : i + 64]) for how in EXPLORE for i in range(0, len(problems), 64)]
    on_job, path = partial(told, "explore"), out / "explored.jsonl"
    config = {"explore": [asdict(how) for how in EXPLORE], "n": n, "weights": hash_files(weights)}
    done = do_all(path, config, explored, parts, processes=processes, on_job=on_job)
    manifest = make_manifest("recipes/llm2_tiny.py explore", config, seed=0)
    write_jsonl(out / "pairs.jsonl", [row for part in done for row in part["rows"]], manifest)
    core_minutes = sum(part["core_s"] for part in done) / 60
    write_jsonl(out / "explored.cost.json", [{"core_minutes": core_minutes}])


def train(out: Path, layout: str) -> None:
    """Train one verifier on the pairs."""
    torch.set_num_threads(1)
    policy, how, started = load_policy("tiny"), FITS[layout], time.process_time()
    rows = list(read_pairs(out / "pairs.jsonl", policy.tokenizer))
    to, work = out / "verifiers" / layout, out / f"{layout}.partial"
    verifier, steps, reports = fit_token_verifier(policy.model, rows, how, folder=work)
    for report in reports:
        if report.step % 100 == 0:
            told(f"{layout} (loss {report.loss:.3f})", report.step, steps)
    (cost,) = read_jsonl(out / "explored.cost.json")
    minutes = {"exploring": cost["core_minutes"], "training": (time.process_time() - started) / 60}
    manifest = asdict(make_manifest("recipes/llm2_tiny.py", asdict(how), seed=how.seed))
    record, half = {**manifest, "core_minutes": minutes}, torch.float16
    save_verifier(to, verifier.eval(), policy.tokenizer, manifest=record, dtype=half)
    forget_training(work)


def choose(out: Path, n: int, processes: int) -> None:
    """Write to each verifier's folder the beta that served validation problems best, and a gate."""
    problems = problems_of("validation", n)
    how: dict[str, Any] = {"max_tokens": MAX_TOKENS, "processes": processes}
    for name in FITS:
        folder, path = out / "verifiers" / name, out / f"choose_{name}.jsonl"
        found = choose_settings(path, str(folder), problems, alphas=[ALPHA], betas=BETAS, **how)
        settings = {"alpha": found.alpha, "beta": found.beta}
        write_settings(folder, settings, {"validation": found.rows})
        gate = choose_gate(out / f"gate_{name}.jsonl", str(folder), problems, **how)
        note = {"validation_gate": gate.rows}
        write_settings(folder, {**settings, "gate": gate.gate}, note)


def compare_all(out: Path, n: int, processes: int) -> None:
    """Compare everything on test problems, a file a method; write results.json."""
    verifiers, problems = out / "verifiers", problems_of("test", n)
    rows: list[dict[str, Any]] = []
    for method in (
        compare.Method("plain", verifier=str(verifiers / "outcome")),
        compare.Method("plausible_only", alpha=ALPHA),
        compare.Method("contrastive", amateur="tiny-amateur", alpha=ALPHA),
        *(compare.Method(f"llm2_{name}", verifier=str(verifiers / name)) for name in FITS),
        compare.Method("sft_control", policy=str(out / "sft_control")),
    ):
        path, on_job = out / f"compare_{method.name}.jsonl", partial(told, method.name)
        how: dict[str, Any] = {"samples": 20, "max_tokens": MAX_TOKENS, "processes": processes}
        rows += compare.attempt_all(path, [method], problems, on_job=on_job, **how)
    table = compare.result_rows(rows, {}, seed=0)
    paired = compare.paired_rows(rows, ("plain", "plausible_only", "sft_control"), seed=0)
    write_jsonl(out / "results.json", [{"rows": table, "paired": paired}])
    print(*map(json.dumps, table + paired), sep="\n")


def main() -> None:
    """Read the arguments and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    for name, n in (("train", 7_473), ("validation", 500), ("test", 2_000)):
        parser.add_argument(f"--n-{name}", type=int, default=n)
    parser.add_argument("--stage", nargs="*")
    run = parser.parse_args()
    stages = {
        "explore": partial(explore_all, run.out, run.n_train, run.processes),
        **{layout: partial(train, run.out, layout) for layout in FITS},
        "choose": partial(choose, run.out, run.n_validation, run.processes),
        "compare": partial(compare_all, run.out, run.n_test, run.processes),
    }
    for name in run.stage or stages:
        stages[name]()


if __name__ == "__main__":
    main()
