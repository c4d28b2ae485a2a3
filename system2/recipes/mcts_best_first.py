"""Monte-Carlo tree search against best-first search: what a solved problem costs each of them.

Meta-CoT (arXiv 2501.04682) section 3 and appendices D and E: until the true answer is found, MCTS
by UCT goes back and repeats itself far more than best-first search ("A*" there), whose backtracks
are few and at the steps that matter. There values are 128 rollouts a node and one problem is
shown; here they are a process verifier's, and the truth says when to stop.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from system2.core import Problem, Verifier
from system2.evaluate.metrics import paired_difference
from system2.evaluate.moves import moves_of
from system2.evaluate.proposer import Loaded, Proposer
from system2.evaluate.solve import SolveConfig, solve
from system2.jobs import do_all
from system2.recipes.verdict import Size, Told, Verdict, interval, measured
from system2.store import hash_files
from system2.tasks import find_task

CLAIM = "best-first search needs fewer nodes and goes back less than MCTS for a solved problem"
SEARCHES = ("best_first", "mcts")
COUNTED = ("nodes", "backtracks", "sampled_tokens")
CHUNK = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """The problems, and what a search may spend on each."""

    problems: int
    budget: int
    task: str = "countdown4"
    policy: str = "tiny-countdown"
    verifier: str = "tiny-countdown/process"
    branch: int = 4
    max_tokens: int = 60

    def proposer(self) -> Proposer:
        """Return the policy, its verifier for what is unfinished, the truth for the rest."""
        return Proposer(self.policy, None, (self.verifier, "oracle"), "last", batch=256)

    def config(self, search: str) -> SolveConfig:
        """Return a search that goes on until an attempt is right, or the budget is spent."""
        return SolveConfig(
            search,
            max_tokens=self.max_tokens,
            budget=self.budget,
            branch=self.branch,
            iterations=self.budget,
            accept=1.0,
        )


PLANS: dict[Size, Plan] = {"small": Plan(500, 1_024), "paper": Plan(1_000, 4_096)}


@dataclass(frozen=True, slots=True)
class _Job:
    plan: Plan
    search: str
    problems: tuple[Problem, ...]


@lru_cache(maxsize=1)
def _loaded(plan: Plan) -> tuple[Loaded, Verifier | None]:
    torch.set_num_threads(1)
    return plan.proposer().load(find_task(plan.task))


def _searched(job: _Job) -> dict[str, Any]:
    policy, judge = _loaded(job.plan)
    config, task = job.plan.config(job.search), find_task(job.plan.task)
    rows = solve(policy, task, job.problems, config, verifier=judge, chunk=CHUNK)
    return {
        "rows": [
            {**asdict(moves_of(row["nodes"])), "sampled_tokens": row["sampled_tokens"]}
            for row in rows
        ]
    }


def run(out: Path, size: Size, told: Told) -> Verdict:
    """Search each problem both ways; compare those that both solve."""
    plan = PLANS[size]
    problems = list(islice(find_task(plan.task).problems("test", 0), plan.problems))
    key = {"plan": asdict(plan), "weights": hash_files(plan.proposer().files())}
    rows: dict[str, Sequence[dict[str, Any]]] = {}
    for search in SEARCHES:
        jobs = [
            _Job(plan, search, tuple(problems[at : at + CHUNK]))
            for at in range(0, len(problems), CHUNK)
        ]
        path, on_job = out / f"{search}.jsonl", partial(told, search)
        done = do_all(path, key, _searched, jobs, processes=2, on_job=on_job)
        rows[search] = [row for job in done for row in job["rows"]]
    both = [
        i for i, pair in enumerate(zip(*rows.values(), strict=True))
        if all(row["is_solved"] for row in pair)
    ]  # fmt: skip

    def differences(name: str) -> list[float | None]:
        first, second = ([float(rows[search][i][name]) for i in both] for search in SEARCHES)
        return interval(paired_difference(second, first))

    gaps = {name: differences(name) for name in (*COUNTED, "repeats")}
    figures: dict[str, Any] = {
        "rows": [_row(search, found, both) for search, found in rows.items()],
        "solved_by_both": len(both),
        "mcts_minus_best_first": gaps,
    }
    holds = all((gaps[name][1] or 0) > 0 for name in ("nodes", "backtracks"))
    return Verdict(CLAIM, holds, figures)


def _row(search: str, found: Sequence[dict[str, Any]], both: Sequence[int]) -> dict[str, Any]:
    row = {"search": search, **measured([float(one["is_solved"]) for one in found])}
    for name in COUNTED:
        row[f"{name} a problem"] = _mean([one[name] for one in found])
        row[f"{name} where both solve"] = _mean([found[i][name] for i in both])
    return row


def _mean(numbers: Sequence[float]) -> float | None:
    return sum(numbers) / len(numbers) if numbers else None
