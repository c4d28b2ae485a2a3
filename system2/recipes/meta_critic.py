"""A critic that sees what was tried, against one that does not: meta-search at equal tokens.

Meta-CoT (arXiv 2501.04682) section 7 (figure 30): an outer search over whole attempts scales better
when the value v(Z, S, q) of a prefix S depends on the attempts Z made so far. Both critics learn
from the same sampled attempts; the one that is shown what was tried meets each prefix in several
contexts, so the other makes as many more passes.
"""

from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from system2.evaluate.metrics import paired_difference
from system2.evaluate.proposer import Proposer
from system2.evaluate.solve import SolveConfig
from system2.evaluate.sweep import Sweep, cells_of, check_folder, described, run_cells
from system2.evaluate.sweep_plots import figure
from system2.evaluate.sweep_results import pooled_values, results_of
from system2.recipes.commands import made
from system2.recipes.verdict import Size, Told, Verdict, interval
from system2.tasks import find_task

CLAIM = "meta-search by a critic that sees what was tried beats the same by one that does not"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is learned from, and what is compared."""

    train: int
    samples: int
    problems: int
    budgets: tuple[int, ...]
    seeds: tuple[int, ...] = (0,)
    orders: int = 2
    epochs: float = 1.0
    adapted: int = 2
    learning_rate: float = 1e-3
    task: str = "countdown4"
    policy: str = "tiny-countdown"
    max_tokens: int = 60


PLANS: dict[Size, Plan] = {
    "small": Plan(train=1_000, samples=8, problems=500, budgets=(256, 512)),
    "paper": Plan(8_000, 8, 1_000, (256, 512, 1024), seeds=(0, 1)),
}


def run(out: Path, size: Size, told: Told) -> Verdict:
    """Sample attempts, train both critics on them, and let each steer the same search."""
    plan = PLANS[size]
    common = ("--task", plan.task, "--policy", plan.policy, "--max-tokens", plan.max_tokens)
    trees = made(
        out / "attempts.jsonl",
        *("solve", *common, "--split", "train", "--seed", 3, "--n", plan.train, "--batch", 256),
        *("--search", "sample", "--samples", plan.samples, "--out", out / "attempts.jsonl"),
    )
    told("training", 1, 4)
    passes = {"wrong": plan.epochs, "none": plan.epochs * plan.orders}
    critics: dict[str, Path] = {}
    for tried, epochs in passes.items():
        folder = out / f"critic_{tried}"
        critics[tried] = made(
            folder,
            *("train", "meta-critic", trees, "--policy", plan.policy, "--tried", tried),
            *("--orders", plan.orders, "--epochs", epochs, "--adapted", plan.adapted),
            *("--learning-rate", plan.learning_rate, "--max-tokens", 2048, "--out", folder),
        )
        told("training", 1 + len(critics), 4)
    told("training", 3, 4)
    return _compared(out / "sweep", plan, critics, told)


def _compared(out: Path, plan: Plan, critics: dict[str, Path], told: Told) -> Verdict:
    """Run the search under each critic, and compare them problem by problem."""
    sweep = Sweep(
        proposer=Proposer(plan.policy, batch=256),
        problems={plan.task: list(islice(find_task(plan.task).problems("test", 0), plan.problems))},
        verifiers=[(str(folder),) for folder in critics.values()],
        searches=("meta", "best_of_n"),
        budgets=plan.budgets,
        seeds=plan.seeds,
        config=SolveConfig(max_tokens=plan.max_tokens),
        dials={},
    )
    cells, said = cells_of(sweep), described(sweep)
    check_folder(out, said)
    outcomes = run_cells(out, said, sweep, cells, processes=2, on_job=partial(told, "sweeping"))
    results = results_of(cells, outcomes, baseline="best_of_n")
    gains: list[dict[str, Any]] = []
    for search in sweep.searches:
        for budget in plan.budgets:
            sees, does_not = (
                pooled_values(
                    [
                        rows
                        for cell, rows in zip(cells, outcomes, strict=True)
                        if cell.proposer.verifiers == (str(folder),)
                        and (cell.config.search, cell.config.budget) == (search, budget)
                    ]
                )
                for folder in critics.values()
            )
            gap = interval(paired_difference(sees, does_not))
            gains.append({"search": search, "budget": budget, "sees_minus_does_not": gap})
    won = [
        (row["sees_minus_does_not"][1] or 0) > 0
        for row in gains
        if (row["search"], row["budget"]) == ("meta", plan.budgets[-1])
    ]
    figures = {"rows": results["pooled"], "gains": gains, "against_best_of_n": results["paired"]}
    return Verdict(CLAIM, all(won), figures, figure(results))
