"""How much data a process verifier needs: its error, and what searches gain by it.

Meta-CoT (arXiv 2501.04682) section 5.2: verifiers of 500, 3,000 and 7,086 labelled questions, 16
rollouts a step. With more, the mean absolute error falls, best-of-N rises (far below the oracle),
and beam search gets more right with fewer tokens. Each verifier here makes as many passes over its
labels; error and calibration are measured on test problems, against many rollouts a prefix.
"""

import json
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from system2.evaluate.verifiers import log_log_slope
from system2.recipes.commands import made, read_results
from system2.recipes.verdict import Size, Told, Verdict
from system2.store import read_jsonl, write_jsonl

CLAIM = "with more labelled problems a process verifier's error falls, at every step of the way"


@dataclass(frozen=True, slots=True)
class Plan:
    """How many problems are labelled, how verifiers are trained, how they are measured."""

    sizes: tuple[int, ...]
    measured: int
    rollouts: int
    problems: int
    attempts: int = 4
    label_rollouts: int = 16
    layout: str = "separate"
    epochs: float = 2.0
    learning_rate: float = 5e-4
    budget: int = 1024
    task: str = "countdown4"
    policy: str = "tiny-countdown"
    max_tokens: int = 60


PLANS: dict[Size, Plan] = {
    "small": Plan((100, 300, 900), measured=150, rollouts=32, problems=500),
    "paper": Plan((500, 1_500, 5_000), measured=500, rollouts=128, problems=1_000),
}


def run(out: Path, size: Size, told: Told) -> Verdict:
    """Label, train a verifier of each size, measure them, and search with each."""
    plan = PLANS[size]
    common = ("--task", plan.task, "--policy", plan.policy, "--max-tokens", plan.max_tokens)
    labels = made(
        out / "labels.jsonl",
        *("label", *common, "--n", plan.sizes[-1], "--seed", 1, "--attempts", plan.attempts),
        *("--rollouts", plan.label_rollouts, "--batch", 256, "--out", out / "labels.jsonl"),
    )
    stages = 3 + len(plan.sizes)
    told("training", 1, stages)
    verifiers: dict[int, Path] = {}
    for count in plan.sizes:
        part, folder = out / f"labels_{count}.jsonl", out / f"verifier_{count}"
        if not part.exists():
            write_jsonl(part, islice(read_jsonl(labels), count * plan.attempts))
        verifiers[count] = made(
            folder,
            *("train", "process-verifier", part, "--policy", plan.policy, "--out", folder),
            *("--layout", plan.layout, "--epochs", plan.epochs),
            *("--learning-rate", plan.learning_rate, "--max-tokens", 2048),
        )
        told("training", 1 + len(verifiers), stages)
    named = [word for folder in verifiers.values() for word in ("--verifier", folder)]
    measure, sweep = out / "measure", out / "sweep"
    _ = made(
        measure / "results.json",
        *("measure", *common, "--n", plan.measured, "--attempts", 4, "--batch", 256),
        *("--rollouts", plan.rollouts, *named, "--out", measure),
    )
    told("measuring", stages - 1, stages)
    _ = made(
        sweep / "results.json",
        *("sweep", *common, "--n", plan.problems, "--budgets", plan.budget, "--batch", 256),
        *("--searches", "majority,best_of_n,beam", "--accept", 0.9, *named, "--out", sweep),
    )
    told("searching", stages, stages)
    return _verdict(plan, verifiers, measure, read_results(sweep)["pooled"])


def _verdict(
    plan: Plan, verifiers: dict[int, Path], measure: Path, searched: list[dict[str, Any]]
) -> Verdict:
    """Put the figures of every size together."""
    figures = {found["verifier"]: found for found in read_results(measure)["verifiers"]}
    errors = [_errors(measure, str(folder)) for folder in verifiers.values()]
    slope = log_log_slope(plan.sizes, errors, is_paired=True)
    rows: list[dict[str, Any]] = []
    for count, folder in verifiers.items():
        found = figures[str(folder)]
        against = [row for row in searched if row["verifier"] == str(folder)]
        rows.append(
            {
                "problems": count,
                **{name: found["policy"][name] for name in ("mae", "ece", "correlation")},
                "first_errors": found["first_errors"],
                "best_of_n": found["best_of_n"],
                "searches": {
                    row["search"]: {
                        k: row[k] for k in ("accuracy", "low", "high", "sampled_tokens")
                    }
                    for row in against
                },
            }
        )
    maes = [row["mae"]["value"] for row in rows]
    falls = all(after < before for before, after in pairwise(maes))
    figures = {
        "rows": rows,
        "mae_log_log_slope": [slope.value, slope.low, slope.high],
        "majority": next(row for row in searched if row["search"] == "majority"),
    }
    return Verdict(CLAIM, falls, figures)


def _errors(measure: Path, verifier: str) -> list[float]:
    """Return each problem's mean absolute error, over its prefixes."""
    found: list[float] = []
    for line in (measure / "prefixes.jsonl").read_text().splitlines()[1:]:
        for row in json.loads(line)["rows"]:
            gaps = [
                abs(prefix["values"][verifier] - prefix["right"] / prefix["rollouts"])
                for prefix in row["prefixes"]
                if prefix["rollouts"]
            ]
            if gaps:
                found.append(sum(gaps) / len(gaps))
    return found
