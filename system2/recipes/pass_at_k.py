"""More samples of an early checkpoint, or longer training?

Meta-CoT (arXiv 2501.04682) figure 2, Llama-3.1-8B on MATH: pass@4 of the first checkpoint beats the
last one's greedy answers, and majority@64 after 15% of the training does. Here: `tiny`, countdown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from system2.engine.local import load_policy
from system2.engine.weights import save_model
from system2.evaluate.compare import Method, attempt_all
from system2.evaluate.curves import majority_at_k, pass_at_k
from system2.evaluate.metrics import paired_difference, problem_means
from system2.recipes.verdict import Size, Told, Verdict, interval, measured
from system2.tasks import find_task
from system2.train.loop import FitConfig, fit
from system2.train.losses import next_token_loss
from system2.train.sft import example_batches, sft_examples

CLAIM = "pass@4 of an early checkpoint beats the greedy answers of the last one"
MAX_TOKENS = 80


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything; `early` is the checkpoint, from 0, that is called early."""

    task: str
    train: int
    problems: int
    samples: int
    checkpoints: int = 6
    early: int = 1


PLANS: dict[Size, Plan] = {
    "small": Plan("countdown", train=24_000, problems=500, samples=16),
    "paper": Plan("countdown4", train=200_000, problems=1_000, samples=64),
}


def train(out: Path, plan: Plan, told: Told) -> list[tuple[str, float]]:
    """Fine-tune, and return the checkpoints' folders, each with its share of the training."""
    torch.set_num_threads(1)
    policy = load_policy("tiny", dtype="float32")
    problems = islice(find_task(plan.task).problems("train", 0), plan.train)
    examples = sft_examples(policy.tokenizer, problems)
    batches, steps = example_batches(examples, policy.tokenizer.pad, max_tokens=2048, seed=0)
    each = steps // plan.checkpoints
    how = FitConfig(each * plan.checkpoints, 1.5e-3, warmup=0.02, ema=0.99, show_every=each)
    folders = [out / f"checkpoint_{i + 1}" for i in range(plan.checkpoints)]
    work = out / "training"
    for report in fit(policy.model.train(), batches, next_token_loss, how, folder=work):
        told("training", report.step + 1, how.steps)
        if (report.step + 1) % each == 0:
            folder = folders[(report.step + 1) // each - 1]
            save_model(folder, policy.model, policy.tokenizer.folder, dtype=torch.float16)
    return [(str(folder), (i + 1) / plan.checkpoints) for i, folder in enumerate(folders)]


def curves_of(rows: Sequence[Mapping[str, Any]], ks: Sequence[int]) -> dict[str, list[Any]]:
    """Return each problem's value, by name: greedy, sample, pass@k, majority@k."""
    sampled = [row for row in rows if row["decoding"] == "sample"]
    found = {
        "greedy": [float(bool(r["grades"][0])) for r in rows if r["decoding"] == "greedy"],
        "sample": problem_means([row["grades"] for row in sampled]),
    }
    for i, k in enumerate(ks):
        found[f"pass@{k}"] = [pass_at_k(row["grades"], ks)[i] for row in sampled]
        votes = (majority_at_k(row["answers"], row["grades"], [k])[0] for row in sampled)
        found[f"majority@{k}"] = list(votes)
    return found


def run(out: Path, size: Size, told: Told) -> Verdict:
    """Fine-tune with checkpoints, sample each on test problems, compare early with last."""
    plan = PLANS[size]
    problems = list(islice(find_task(plan.task).problems("test", 0), plan.problems))
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= plan.samples]
    rows: list[dict[str, Any]] = []
    values: list[dict[str, list[Any]]] = []
    for i, (folder, share) in enumerate(train(out, plan, told)):
        how: dict[str, Any] = {"samples": plan.samples, "max_tokens": MAX_TOKENS, "processes": 2}
        path, on_job = out / f"attempts_{i + 1}.jsonl", partial(told, f"checkpoint {i + 1}")
        method = Method(f"checkpoint_{i + 1}", policy=folder)
        values.append(curves_of(attempt_all(path, [method], problems, on_job=on_job, **how), ks))
        for name, found in values[-1].items():
            rows.append({"training": share, "decoding": name, **measured(found)})
    gap = paired_difference(values[plan.early]["pass@4"], values[-1]["greedy"])
    vote = paired_difference(values[plan.early][f"majority@{plan.samples}"], values[-1]["greedy"])
    figures = {
        "rows": rows,
        "early_share_of_training": (plan.early + 1) / plan.checkpoints,
        "early_pass_at_4_minus_last_greedy": interval(gap),
        "early_majority_minus_last_greedy": interval(vote),
    }
    return Verdict(CLAIM, gap.low is not None and gap.low > 0, figures)
