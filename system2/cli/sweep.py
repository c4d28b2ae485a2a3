"""`system2 sweep`: searches, verifiers, budgets and seeds, compared at equal compute."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import Parameter

from system2.cli.dials import Dials
from system2.cli.options import (
    Count,
    Gate,
    Json,
    Judge,
    NonNegative,
    NumProblems,
    PartOf,
    Plausible,
    Verifiers,
    Weight,
    check_scored,
)
from system2.cli.solve import problems_of
from system2.cli.terminal import counter, finish
from system2.cli.workers import Workers, check_workers
from system2.core import Problem, Split, UserError

if TYPE_CHECKING:
    from system2.evaluate.sweep import Sweep

Names: TypeAlias = Annotated[tuple[str, ...], Parameter(negative=())]
"""A list: by commas, by repeating the option, or both."""

PROBLEM_SEED = 0
"""The problems of a task are those that `system2 solve --seed 0` draws, for every seed."""
MAX_BUDGET = 1 << 40
"""Far beyond what anybody samples; more is a slip of the hand."""


def sweep(
    *,
    out: Path,
    searches: Names,
    budgets: Names,
    seeds: Names = ("0",),
    task: Names = (),
    problems: Path | None = None,
    split: PartOf = "test",
    n: NumProblems = None,
    policy: str = "tiny",
    tokenizer: str | None = None,
    verifier: Verifiers = (),
    judge: Judge = "product",
    baseline: str | None = None,
    alpha: Plausible = None,
    beta: Weight = None,
    gate: Gate = 1.0,
    dials: Dials | None = None,
    temperature: NonNegative = 1.0,
    top_p: float = 1.0,
    max_tokens: Count = 256,
    batch: Count = 64,
    workers: Workers = 1,
    json: Json = False,
) -> None:
    """Sweep tasks, searches, verifiers, budgets and seeds; compare them at equal compute.

    Writes results.json, figure.svg and report.html into a folder. Takes up where it was killed;
    a folder that holds another sweep is refused. Lists are given by commas, by repeating the
    option, or both. The problems are the same for every seed, which moves the draws alone. A
    search takes the dials that it has; --samples and --iterations are as many as the budget
    holds, unless given.

    Parameters
    ----------
    out
        The folder to write.
    searches
        Searches to compare, as of system2 solve. One that asks for no values runs once, not once
        a judge.
    budgets
        Sampled tokens that one problem may cost. It binds: independent attempts are drawn until
        it is spent.
    seeds
        Seeds of every draw.
    task
        The tasks whose problems are solved (system2 models lists them).
    problems
        A JSONL file of problems, as system2 problems writes it, instead of --task.
    policy
        tiny, a checkpoint folder, hub:NAME, or a server: http://HOST:PORT/v1#MODEL.
    tokenizer
        The tokenizer of a server's model: its checkpoint folder, or tiny.
    verifier
        Verifiers to compare, as of system2 solve; A+B are two that work together (a token
        verifier and a judge, or judges by --judge).
    baseline
        The search that others are compared with (default: majority, else the first).
    temperature
        0 is greedy.
    top_p
        Draw from the smallest set of tokens that holds this probability.
    max_tokens
        The longest attempt, or the longest step of a search that goes step by step.
    batch
        Rows decoded at a time; requests at a time to a server.
    """
    from system2.evaluate.proposer import Proposer
    from system2.evaluate.solve import SolveConfig
    from system2.evaluate.sweep import Sweep

    proposer = Proposer(policy, tokenizer, (), judge, alpha, beta, gate, batch)
    check_scored(verifier, beta, gate)
    check_workers(workers, policy)
    swept = Sweep(
        proposer=proposer,
        problems=_problems(listed("task", task), problems, split, n),
        verifiers=[team_of(name) for name in listed("verifier", verifier)],
        searches=_needed("searches", searches),
        budgets=[_count("budgets", text) for text in _needed("budgets", budgets)],
        seeds=[_whole("seeds", text) for text in _needed("seeds", seeds)],
        config=SolveConfig(temperature=temperature, top_p=top_p, max_tokens=max_tokens),
        dials=(dials or Dials()).given,
    )
    results = _swept(out, swept, baseline, workers, {"split": None if problems else split})
    _finish(out, results, as_json=json)


def _swept(
    out: Path, sweep: "Sweep", baseline: str | None, workers: int, more: dict[str, Any]
) -> dict[str, Any]:
    """Check everything, run the cells that are missing, and write the folder."""
    from dataclasses import asdict
    from json import dumps

    from system2.evaluate.sweep import cells_of, check, check_folder, described, run_cells
    from system2.evaluate.sweep_plots import figure, page
    from system2.evaluate.sweep_results import baseline_of, results_of
    from system2.store import make_manifest, whole_file

    _ = baseline_of(sweep.searches, baseline)
    cells = cells_of(sweep)
    said = described(sweep, **more)
    check_folder(out, said)
    check(sweep, cells)
    with counter("sweeping") as tell:
        outcomes = run_cells(out, said, sweep, cells, processes=workers, on_job=tell)
    manifest = make_manifest("sweep", {**said, "baseline": baseline})
    results = {"manifest": asdict(manifest), **results_of(cells, outcomes, baseline=baseline)}
    files = {
        "figure.svg": figure(results),
        "report.html": page(results),
        "results.json": dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, text in files.items():
        with whole_file(out / name) as file:
            file.write(text.encode())
    return results


def _finish(out: Path, results: dict[str, Any], *, as_json: bool) -> None:
    counts: dict[str, int] = {}
    for row in results["paired"]:
        counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    against = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    line = f"{len(results['rows'])} cells" + (
        f"; against {results['baseline']}: {against}" if against else ""
    )
    finish(
        f"{line}: {out / 'report.html'}",
        {"rows": len(results["rows"]), "baseline": results["baseline"], "out": str(out)},
        as_json=as_json,
    )


def _problems(
    tasks: Sequence[str], file: Path | None, split: Split, n: int | None
) -> dict[str, list[Problem]]:
    """Return the problems by task. Raises: `UserError` as `problems_of`."""
    found: dict[str, list[Problem]] = {}
    for name in tasks or [None]:
        task, drawn = problems_of(name, file, split, n, PROBLEM_SEED)
        found[name or task.name] = drawn
    return found


def listed(option: str, given: Sequence[str]) -> list[str]:
    """Return the entries of lists by commas; a name that is a path with a comma stays whole.

    Raises: `UserError` on an empty entry, or one that is named twice.
    """
    entries: list[str] = []
    for text in given:
        entries += [text] if Path(text).exists() else [part.strip() for part in text.split(",")]
    for entry in entries:
        if not entry:
            raise UserError(f"--{option} {','.join(given)!r} has an empty entry")
        if entries.count(entry) > 1:
            raise UserError(f"--{option} names {entry} twice")
    return entries


def _needed(option: str, given: Sequence[str]) -> list[str]:
    if entries := listed(option, given):
        return entries
    raise UserError(f"--{option} names nothing; give at least one")


def team_of(name: str) -> tuple[str, ...]:
    """Return the verifiers that work together; a path with a plus stays whole."""
    parts = (name,) if Path(name).exists() else tuple(part.strip() for part in name.split("+"))
    if not all(parts):
        raise UserError(f"--verifier {name!r} has an empty name beside a +")
    return parts


def _whole(option: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"--{option}: {text!r} is no whole number") from None


def _count(option: str, text: str) -> int:
    if not 1 <= (number := _whole(option, text)) <= MAX_BUDGET:
        raise UserError(f"--{option}: {text} has to lie between 1 and {MAX_BUDGET:,}")
    return number
