"""Ways to search under one verifier, at equal sampled tokens, and where search does not pay.

Meta-CoT (arXiv 2501.04682) sections 2.3 and 5.2; TS-LLM (arXiv 2309.17179) compares searches so.
The dials of beam and best-first were chosen on validation problems (docs/log.md). Two controls
of equal compute: majority, which needs no verifier, and the best of N by the same verifier.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from system2.evaluate.proposer import Proposer
from system2.evaluate.solve import SolveConfig
from system2.evaluate.sweep import Sweep, cells_of, check_folder, described, run_cells
from system2.evaluate.sweep_plots import figure
from system2.evaluate.sweep_results import results_of
from system2.recipes.verdict import Size, Told, Verdict
from system2.tasks import find_task

CLAIM = "at equal tokens, beam and best-first with a process verifier beat the majority's answer"
CLAIMED = ("beam", "best_first")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is swept; the claim is about the largest budget."""

    problems: int
    budgets: tuple[int, ...]
    searches: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    task: str = "countdown4"
    policy: str = "tiny-countdown"
    verifier: str = "tiny-countdown/process"
    max_tokens: int = 60
    dials: Mapping[str, Any] = field(default_factory=lambda: {"width": 4, "branch": 4})


EVERY = (
    "majority", "best_of_n", "weighted_majority", "beam", "diverse_beam", "lookahead",
    "best_first", "astar", "dfs", "mcts", "particle",
)  # fmt: skip
PLANS: dict[Size, Plan] = {
    "small": Plan(500, (512, 1024), ("majority", "best_of_n", *CLAIMED)),
    "paper": Plan(1_000, (256, 512, 1024, 2048), EVERY, seeds=(0, 1)),
}


def sweep_of(plan: Plan) -> Sweep:
    """Return the sweep of a plan."""
    problems = list(islice(find_task(plan.task).problems("test", 0), plan.problems))
    return Sweep(
        proposer=Proposer(plan.policy, batch=256),
        problems={plan.task: problems},
        verifiers=[(plan.verifier,)],
        searches=plan.searches,
        budgets=plan.budgets,
        seeds=plan.seeds,
        config=SolveConfig(max_tokens=plan.max_tokens),
        dials=plan.dials,
    )


def run(out: Path, size: Size, told: Told) -> Verdict:
    """Sweep, and compare every search with both controls."""
    plan = PLANS[size]
    sweep = sweep_of(plan)
    cells, said = cells_of(sweep), described(sweep)
    check_folder(out, said)
    outcomes = run_cells(out, said, sweep, cells, processes=2, on_job=partial(told, "sweeping"))
    results = results_of(cells, outcomes, baseline="majority")
    against_best = results_of(cells, outcomes, baseline="best_of_n")["paired"]
    most = max(plan.budgets)
    won = {row["search"] for row in results["paired"] if _is_won(row) and row["budget"] == most}
    figures = {
        "rows": results["pooled"],
        "against_majority": results["paired"],
        "against_best_of_n": against_best,
        "does_not_pay": [
            {key: row[key] for key in ("search", "budget", "baseline", "difference", "low", "high")}
            for row in (*results["paired"], *against_best)
            if not _is_won(row)
        ],
        "units": results["units"],
    }
    return Verdict(CLAIM, won >= set(CLAIMED), figures, figure(results))


def _is_won(row: Mapping[str, Any]) -> bool:
    return row["low"] is not None and row["low"] > 0
