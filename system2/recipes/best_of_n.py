"""The best of N by a learned verifier, beside the majority's answer and an oracle's choice.

Meta-CoT (arXiv 2501.04682) section 5.2, Llama-3.1-8B on MATH-500, N up to 64: the best of N by a
process verifier rises with N and leaves a large gap to the oracle (pass@N). All curves here are
read off the same draws, so that N means the same sampled tokens in each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from system2.evaluate.compare import Method, attempt_all
from system2.evaluate.curves import best_of_k, majority_at_k, pass_at_k, weighted_majority_at_k
from system2.evaluate.metrics import paired_difference
from system2.recipes.verdict import Size, Told, Verdict, interval, measured
from system2.tasks import find_task

CLAIM = "the best of N by a learned verifier beats the majority, and stays below the oracle"
MAX_TOKENS = 80


@dataclass(frozen=True, slots=True)
class Plan:
    """The policy and its verifier, and how many problems and samples of each."""

    problems: int
    samples: int
    task: str = "countdown4"
    policy: str = "tiny-countdown"
    verifier: str = "tiny-countdown/process"


PLANS: dict[Size, Plan] = {
    "small": Plan(problems=500, samples=16),
    "paper": Plan(problems=1_000, samples=64),
}


def values_of(rows: Sequence[Mapping[str, Any]], ks: Sequence[int]) -> dict[str, list[list[Any]]]:
    """Return `[name][k][p]`: the expected grade of each choice among k samples of a problem."""
    by_problem: dict[str, list[list[float | None]]] = {
        "oracle": [pass_at_k(r["grades"], ks) for r in rows],
        "majority": [majority_at_k(r["answers"], r["grades"], ks) for r in rows],
        "best_of_n": [best_of_k(r["values"], r["grades"], ks) for r in rows],
        "weighted_majority": [
            weighted_majority_at_k(r["answers"], r["grades"], r["values"], ks) for r in rows
        ],
    }
    return {
        name: [[curve[i] for curve in curves] for i in range(len(ks))]
        for name, curves in by_problem.items()
    }


def run(out: Path, size: Size, told: Told) -> Verdict:
    """Sample, score and choose; compare at the largest N."""
    plan = PLANS[size]
    problems = list(islice(find_task(plan.task).problems("test", 0), plan.problems))
    method = Method("verified", policy=plan.policy, verifier=plan.verifier)
    how: dict[str, Any] = {"samples": plan.samples, "max_tokens": MAX_TOKENS, "processes": 2}
    attempts = attempt_all(
        out / "attempts.jsonl", [method], problems, on_job=partial(told, "sampling"), **how
    )
    sampled = [row for row in attempts if row["decoding"] == "sample"]
    ks = [k for k in (1, 2, 4, 8, 16, 32, 64) if k <= plan.samples]
    values = values_of(sampled, ks)
    tokens = sum(row["sampled_tokens"] for row in sampled) / len(sampled) / plan.samples
    rows: list[dict[str, Any]] = []
    for name, curve in values.items():
        for k, found in zip(ks, curve, strict=True):
            about = {"choice": name, "samples": k, "sampled_tokens": tokens * k}
            rows.append({**about, **measured(found)})
    gain = paired_difference(values["best_of_n"][-1], values["majority"][-1])
    gap = paired_difference(values["oracle"][-1], values["best_of_n"][-1])
    figures = {
        "rows": rows,
        "best_of_n_minus_majority": interval(gain),
        "oracle_minus_best_of_n": interval(gap),
    }
    return Verdict(CLAIM, bool(gain.low and gain.low > 0 and gap.low and gap.low > 0), figures)
