"""LLM2 (arXiv 2412.20372) on GSM8K, the paper's whole run: explore, train, evaluate GSM8K and MATH.

For Llama-3.2-1B-Instruct, -3B, 3.1-8B or any checkpoint folder, on one device by `python`, on all
by `accelerate launch system2/recipes/llm2_gsm8k.py --out FOLDER`; each stage goes on after a kill.
Results: FOLDER/TASK/report.html and results.json, beside FOLDER/pairs.jsonl and FOLDER/verifier.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, InitProcessGroupKwargs

from system2 import store
from system2.core import UserError
from system2.engine import local, tiktoken_file, tokenizer, weights
from system2.evaluate import compare, report
from system2.synthesise import pairs, token_quality
from system2.tasks import find_task
from system2.train.loop import forget_training
from system2.train.token_verifier import VerifierFit, fit_token_verifier
from system2.verify import folders, token


def settle(run: argparse.Namespace) -> None:
    """Note the settings in the folder, and link the checkpoint there under our chat template."""
    asked = {key: str(value) for key, value in vars(run).items() if key != "out"}
    manifest = asdict(store.make_manifest("recipes/llm2_gsm8k.py", asked, seed=0))
    manifest = tokenizer.read_json(run.out / "manifest.json", default=manifest)
    if manifest["config"] != asked:
        raise UserError(f"{run.out} belongs to a run with other settings; choose another --out")
    store.write_jsonl(run.out / "manifest.json", [manifest])
    # Llama 3.2's own template writes a dated system block, which the paper's data have not
    template = run.chat_template.read_text() if run.chat_template else tiktoken_file.CHAT_TEMPLATE
    with store.whole_file(run.out / "policy" / "chat_template.jinja") as file:
        file.write(template.encode())
    for path in weights.find_checkpoint(run.policy).iterdir():
        link = run.out / "policy" / path.name
        if path.is_file() and not link.exists():
            link.symlink_to(path.resolve())


def in_parts(on: Accelerator, folder: Path, jobs: list[Any], do: Callable[[Any], Any]) -> list[Any]:
    """Do each job once, in whichever process of whichever start; return all rows in order."""
    files = [folder / f"{number:05}.jsonl" for number in range(len(jobs))]
    for i in range(on.process_index, len(jobs), on.num_processes):
        if not files[i].exists():
            store.write_jsonl(files[i], do(jobs[i]))
            print(f"{files[i]} of {len(files)}", flush=True)
    on.wait_for_everyone()
    return [row for file in files for row in store.read_jsonl(file)]


def make_pairs(run: argparse.Namespace, on: Accelerator) -> None:
    """Write the pairs of GSM8K's training problems."""
    policy, task = local.load_policy(str(run.out / "policy"), max_rows=128), find_task("gsm8k")
    limits = {"max_positions": run.positions, "max_tokens": run.max_tokens}
    how = token_quality.ExploreConfig(rollouts=run.rollouts, **limits)
    problems = list(islice(task.problems("train", 0), run.n_train))
    jobs = [problems[start : start + 32] for start in range(0, len(problems), 32)]
    do = partial(token_quality.explore, policy, task, config=how)
    rows = in_parts(on, run.out / "explored", jobs, do)
    if on.is_main_process:
        store.write_jsonl(run.out / "pairs.jsonl", rows)


def train(run: argparse.Namespace, on: Accelerator) -> None:
    """Train the verifier: weights in fp32, on a GPU with arithmetic in bf16."""
    policy = local.load_policy(str(run.out / "policy"), dtype="float32", device=str(on.device))
    rows = [row for row in pairs.read_pairs(run.out / "pairs.jsonl", policy.tokenizer) if row.pairs]
    # a step of 128 texts, as in the paper (VerifierFit's defaults are its other hyperparameters)
    tokens = sum(len(row.tokens) + len(row.pairs) for row in rows) * 128 / max(128, len(rows))
    size, precision = run.micro_tokens, "bf16" if torch.cuda.is_available() else "no"
    micro = max(1, round(tokens / size))
    how = VerifierFit(run.layout, max_tokens=size, micro_batches=micro, mixed_precision=precision)
    folder = run.out / "training"
    verifier, steps, reports = fit_token_verifier(policy.model, rows, how, folder=folder)
    for done in reports:
        on.print(f"step {done.step + 1} of {steps}, loss {done.loss:.4f}", flush=True)
    if on.is_main_process:
        settings = {"alpha": run.alpha, "beta": run.beta}
        manifest = tokenizer.read_json(run.out / "manifest.json")
        dtype = torch.bfloat16 if precision == "bf16" else None
        notes: dict[str, Any] = {"settings": settings, "manifest": manifest, "dtype": dtype}
        folders.save_verifier(run.out / "verifier", verifier, policy.tokenizer, **notes)
        forget_training(folder)


def evaluate(run: argparse.Namespace, on: Accelerator, task: str) -> None:
    """Compare plain decoding, the plausible set alone and LLM2 on a task's test problems."""
    policy, verifier = str(run.out / "policy"), str(run.out / "verifier")
    methods = [
        compare.Method("plain", policy),
        compare.Method("plausible_only", policy, alpha=run.alpha),
        compare.Method(f"llm2_{run.layout}", policy, verifier, run.alpha, run.beta),
    ]
    problems = list(islice(find_task(task).problems("test", 0), run.n_test))
    limits = {"samples": run.samples, "max_tokens": run.max_tokens}
    jobs = compare.jobs_of(methods, problems, seed=0, **limits)
    rows = in_parts(on, run.out / task / "attempts", jobs, compare.attempt)
    if on.is_main_process:
        results = {
            "rows": compare.result_rows(rows, {}, seed=0),
            "paired": compare.paired_rows(rows, ("plain", "plausible_only"), seed=0),
            "manifest": tokenizer.read_json(run.out / "manifest.json"),
        }
        page = report.render_report(results, title=f"LLM2 on {task}: {run.policy}").encode()
        store.write_jsonl(run.out / task / "results.json", [results])
        with store.whole_file(run.out / task / "report.html") as file:
            file.write(page)


def main() -> None:
    """Read the arguments and run the stages that are not done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--chat-template", type=Path, help="for other families than Llama 3")
    parser.add_argument("--layout", choices=token.LAYOUTS, default="separate")
    parser.add_argument("--tasks", nargs="+", default=["gsm8k", "math"])
    what = {"policy": "hub:meta-llama/Llama-3.2-1B-Instruct", "n-train": 7_473, "n-test": 5_000}
    explored = {"positions": 8, "rollouts": 8, "max-tokens": 512, "micro-tokens": 4_096}
    tested = {"samples": 20, "alpha": 0.1, "beta": 0.25}
    for name, default in {**what, **explored, **tested}.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    run = parser.parse_args()
    patience = InitProcessGroupKwargs(timeout=timedelta(days=7))  # a slow part holds up the rest
    on = Accelerator(kwargs_handlers=[patience])
    try:
        if on.is_main_process:
            settle(run)
        for stage, made in ((make_pairs, "pairs.jsonl"), (train, "verifier")):
            on.wait_for_everyone()
            if not (run.out / made).exists():
                stage(run, on)
        for task in run.tasks:
            on.wait_for_everyone()
            evaluate(run, on, task)
    except UserError as error:
        parser.exit(2, f"llm2_gsm8k: {error}\n")


if __name__ == "__main__":
    main()
