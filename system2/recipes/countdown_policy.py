"""Make `tiny-countdown`: `tiny`, fine-tuned on Countdown with four numbers.

It learns the one written-out solution of fresh training problems, each met once; what it then
knows of search is nothing, which is what searches and verifiers are measured with. Writes the
checkpoint folder; goes on where it was killed. Run: python system2/recipes/countdown_policy.py
--out FOLDER (some 40 minutes of a core)
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from system2.core import Problem, SampleRequest, SamplingParams
from system2.engine.local import LocalPolicy, load_policy
from system2.engine.weights import save_model
from system2.evaluate.curves import pass_at_k
from system2.store import make_manifest
from system2.tasks import find_task
from system2.train.loop import FitConfig, fit, forget_training
from system2.train.losses import next_token_loss
from system2.train.sft import example_batches, sft_examples

TASK, MAX_TOKENS = find_task("countdown4"), 80
NUM_CHECKS = 16
"""Validations of the averaged weights; none of them chooses anything."""


def figures_of(policy: LocalPolicy, problems: Sequence[Problem], samples: int) -> dict[str, float]:
    """Return the share of right answers: greedy, drawn at T=1, and of `samples` draws any."""
    policy.forget()
    prompts = tuple(policy.tokenizer.prompt(problem.prompt) for problem in problems)
    found: dict[str, float] = {}
    for count, temperature in ((1, 0.0), (samples, 1.0)):
        params = SamplingParams(MAX_TOKENS, temperature)
        drawn = policy.sample([SampleRequest(prompts, count, params, seed=0)])[0]
        grades = [
            [TASK.grade(problem, policy.tokenizer.decode(c.tokens)) for c in completions]
            for problem, completions in zip(problems, drawn, strict=True)
        ]
        for k in (1, count):
            name = "greedy" if not temperature else f"pass@{k}"
            shares = [pass_at_k(of_problem, [k])[0] or 0.0 for of_problem in grades]
            found[name] = sum(shares) / len(shares)
    return found


def train(out: Path, n: int) -> None:
    """Fine-tune `tiny` on `n` problems and write the checkpoint, with what validation said."""
    torch.set_num_threads(1)
    base = load_policy("tiny", dtype="float32")
    model, tokenizer = base.model, base.tokenizer
    examples = sft_examples(tokenizer, islice(TASK.problems("train", 0), n))
    batches, steps = example_batches(examples, tokenizer.pad, max_tokens=2048, seed=0)
    each = max(1, steps // NUM_CHECKS)
    how = FitConfig(steps, 1.5e-3, warmup=0.02, final_rate=0.03, ema=0.999, show_every=each)
    policy = LocalPolicy(model, tokenizer, max_rows=512)
    validation = list(islice(TASK.problems("validation", 0), 500))
    work = Path(f"{out}.partial")
    for report in fit(model.train(), batches, next_token_loss, how, folder=work):
        if (report.step + 1) % each == 0:
            figures = figures_of(policy, validation[:100], 8)
            print(report.step + 1, "of", steps, json.dumps(figures), f"loss {report.loss:.3f}")
    described: dict[str, Any] = {"problems": n, **asdict(how)}
    manifest = asdict(make_manifest("recipes/countdown_policy.py", described, seed=0))
    figures = figures_of(policy, validation, 16)
    record = {**manifest, "validation": figures}
    extra = {"manifest.json": json.dumps(record, indent=2).encode()}
    save_model(out, model, tokenizer.folder, dtype=torch.float16, extra=extra)
    forget_training(work)
    print(json.dumps(figures))


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=200_000)
    arguments = parser.parse_args()
    train(arguments.out, arguments.problems)


if __name__ == "__main__":
    main()
