"""Sweep tasks, searches, verifiers, budgets and seeds, and compare methods at equal compute.

Place in the flow: names and lists -> cells (one search, at one budget, with one seed, on all
problems) -> `solve`, in processes, kept as it goes -> rows with intervals, rows pooled over seeds
and paired differences to a baseline -> `sweep_plots`.

Compute is sampled tokens, and a budget is a cap that binds wherever a search can use it up:
independent attempts are drawn in rounds until the budget is spent (`search.fill`), a search that
goes from attempt to attempt or from expansion to expansion may make as many as the budget
holds. A dial given by hand is kept instead. A search that ends earlier of itself has spent less:
rows say what was really sampled, and a paired difference is given twice, at equal budgets and at
equal tokens really sampled (the baseline's values interpolated between its budgets).

The problems are the same ones for every seed, which only moves the draws, so that seeds pool
problem by problem: intervals take a problem, with all its seeds, as one cluster.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

from system2.core import Problem, Task, UserError, Verifier
from system2.engine.tokenizer import read_json
from system2.evaluate.proposer import Loaded, Proposer, guides
from system2.evaluate.solve import SolveConfig, dials_of, solve
from system2.jobs import do_all
from system2.search import SCORED_SEARCHES
from system2.search.fill import REPEATED
from system2.store import hash_files, journal_key, problem_row, whole_file
from system2.tasks import find_task
from system2.tasks.answers import checker_versions

CELLS = "cells.jsonl"
"""The file of the folder that the cells' rows are kept in."""
NOTE = "sweep.json"
"""The file of the folder that says what its sweep is of."""
CHUNK = 64
"""Problems whose searches are batched together; a kill costs one such chunk."""

Method: TypeAlias = tuple[str, tuple[str, ...], str]
"""A task, the names of the verifiers, and a search."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is swept: every list is crossed with the others.

    `problems` holds each task's; each of `verifiers` names what works together, a token verifier
    and judges; () is none. `dials` are those that were given by hand: a search takes what it
    has, no search has to have all.
    """

    proposer: Proposer
    problems: Mapping[str, Sequence[Problem]]
    verifiers: Sequence[tuple[str, ...]]
    searches: Sequence[str]
    budgets: Sequence[int]
    seeds: Sequence[int]
    config: SolveConfig
    dials: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cell:
    """One search at one budget with one seed: `config` says which."""

    task: str
    proposer: Proposer
    config: SolveConfig

    @property
    def method(self) -> Method:
        """What is compared with what."""
        return self.task, self.proposer.verifiers, self.config.search


@dataclass(frozen=True, slots=True)
class _Job:
    """Some of the problems of a cell."""

    cell: Cell
    problems: tuple[Problem, ...]


def cells_of(sweep: Sweep) -> list[Cell]:
    """Return the cells, those of one policy and verifier together.

    A search that asks for no values is not repeated for each judge: it is run with the token
    verifier alone, where there is one. A search that needs a judge leaves verifiers without one
    out.
    Raises: `UserError` on an unknown search, one that finds no judge, a judge that no search
    asks, or a dial that no search has.
    """
    used: set[str] = set()
    for search in sweep.searches:
        used |= {dial for dial in sweep.dials if dial in dials_of(search)}
    if unused := [dial for dial in sweep.dials if dial not in used]:
        raise UserError(
            f"no search of {', '.join(sweep.searches)} has a use for "
            f"--{unused[0].replace('_', '-')}"
        )
    teams = [_teams(search, sweep.verifiers) for search in sweep.searches]
    asked = {team for of_search in teams for team in of_search}
    for team in sweep.verifiers:
        if team not in asked:
            raise UserError(
                f"{'+'.join(team)} judges what is found, which none of "
                f"{', '.join(sweep.searches)} asks for; add one of {', '.join(SCORED_SEARCHES)}"
            )
    found = [
        Cell(task, replace(sweep.proposer, verifiers=team), _config(sweep, search, budget, seed))
        for task in sweep.problems
        for search, of_search in zip(sweep.searches, teams, strict=True)
        for team in of_search
        for budget, seed in product(sweep.budgets, sweep.seeds)
    ]
    first: dict[tuple[str, Proposer], int] = {}
    for place, cell in enumerate(found):
        _ = first.setdefault((cell.task, cell.proposer), place)
    return sorted(found, key=lambda cell: first[cell.task, cell.proposer])


def named(verifiers: Sequence[str]) -> str | None:
    """Return what a row calls verifiers that work together, None of none."""
    return "+".join(verifiers) or None


def _teams(search: str, verifiers: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the verifiers that a search runs with, each team once."""
    needs_judge = search in SCORED_SEARCHES
    teams: dict[tuple[str, ...], None] = {}
    for team in verifiers or [()]:
        tokens = tuple(name for name in team if guides(name))
        if needs_judge and len(tokens) < len(team):
            teams[team] = None
        elif not needs_judge:
            teams[tokens] = None
    if not teams:
        given = ", ".join("+".join(team) for team in verifiers) or "none"
        raise UserError(
            f"search {search} needs a verifier that judges what is found, and --verifier is "
            f"{given}; name one (oracle is one for every task)"
        )
    return list(teams)


def _config(sweep: Sweep, search: str, budget: int, seed: int) -> SolveConfig:
    """Return the configuration of a cell: as many attempts or expansions as the budget holds."""
    known = dials_of(search)
    dials = {dial: value for dial, value in sweep.dials.items() if dial in known}
    fills = search in REPEATED and "samples" not in dials
    for counted in ("samples", "iterations"):
        if counted in known and not fills:
            _ = dials.setdefault(counted, budget)
    return replace(
        sweep.config, search=search, budget=budget, seed=seed, fill=fills, select=None, **dials
    )


def check(sweep: Sweep, cells: Sequence[Cell]) -> None:
    """Load everything once, so that nothing is refused in the middle. Raises: `UserError`."""
    for proposer, task in dict.fromkeys((cell.proposer, cell.task) for cell in cells):
        _ = _loaded(proposer, task)


@lru_cache(maxsize=2)
def _loaded(proposer: Proposer, task: str) -> tuple[Loaded, Verifier | None, Task]:
    import torch

    torch.set_num_threads(1)  # the same sums in any number of processes
    found = find_task(task)
    return *proposer.load(found), found


def check_folder(out: Path, described: Mapping[str, Any]) -> None:
    """Refuse a folder that holds another sweep, by what is different. Raises: `UserError`."""
    here = json.loads(json.dumps(described))
    there = read_json(out / NOTE, default={})
    for key in [*here, *there] if there else []:
        if here.get(key) != there.get(key):
            raise UserError(
                f"{out} holds another sweep: {key} is {_shown(there.get(key))} there and "
                f"{_shown(here.get(key))} here; name another folder by --out"
            )


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def run_cells(
    out: Path,
    described: Mapping[str, Any],
    sweep: Sweep,
    cells: Sequence[Cell],
    *,
    processes: int = 1,
    on_job: Callable[[int, int], None] | None = None,
) -> list[list[dict[str, Any]]]:
    """Return, for each cell, a row a problem, kept in `cells.jsonl` as they are made.

    Started again, it goes on where it was. `described` says all that the rows depend on.
    Raises: `UserError` as `check_folder`; `OSError` where the folder cannot be written.
    """
    check_folder(out, described)
    with whole_file(out / NOTE) as file:
        file.write(json.dumps(described, indent=1).encode() + b"\n")
    jobs = [
        _Job(cell, tuple(sweep.problems[cell.task][start : start + CHUNK]))
        for cell in cells
        for start in range(0, len(sweep.problems[cell.task]), CHUNK)
    ]
    done = do_all(out / CELLS, described, _solved, jobs, processes=processes, on_job=on_job)
    found: list[list[dict[str, Any]]] = []
    rows = iter(done)
    for cell in cells:
        num_jobs = -(-len(sweep.problems[cell.task]) // CHUNK)
        found.append([row for _ in range(num_jobs) for row in next(rows)["rows"]])
    return found


def _solved(job: _Job) -> dict[str, Any]:
    cell = job.cell
    policy, verifier, task = _loaded(cell.proposer, cell.task)
    rows = solve(policy, task, job.problems, cell.config, verifier=verifier, chunk=CHUNK)
    return {"rows": [_outcome(row) for row in rows]}


def _outcome(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a sweep keeps of a tree; `right` counts its right finished attempts."""
    grades = [node["grade"] for node in row["nodes"] if "grade" in node]
    return {
        "problem": row["problem"]["id"],
        "answer": row["answer"],
        "grade": row["grade"],
        "attempts": len(grades),
        "right": sum(grade is True for grade in grades),
        "nodes": len(row["nodes"]) - 1,
        "sampled_tokens": row["sampled_tokens"],
        "positions_computed": row["positions_computed"],
    }


def described(sweep: Sweep, **more: Any) -> dict[str, Any]:
    """Return all that a sweep's results depend on, in words that errors can show."""
    fixed = asdict(sweep.config)
    for swept in ("search", "budget", "seed", "select", "fill", *sweep.dials):
        _ = fixed.pop(swept, None)
    who = asdict(sweep.proposer)
    del who["verifiers"]
    teams = [replace(sweep.proposer, verifiers=team) for team in sweep.verifiers or [()]]
    return {
        "task": list(sweep.problems),
        **who,
        "verifier": ["+".join(team) for team in sweep.verifiers],
        "searches": list(sweep.searches),
        "budgets": list(sweep.budgets),
        "seeds": list(sweep.seeds),
        "dials": dict(sweep.dials),
        **fixed,
        **more,
        "problems": {task: _print(problems) for task, problems in sweep.problems.items()},
        "weights": hash_files(path for team in teams for path in team.files()),
        "checkers": checker_versions(),
    }


def _print(problems: Sequence[Problem]) -> str:
    """Return a hash of problems: what they ask, and what answers them."""
    key = journal_key({"problems": [problem_row(problem) for problem in problems]})
    return f"{len(problems)} ({str(key['journal'])[:12]})"
