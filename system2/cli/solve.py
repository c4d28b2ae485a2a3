"""`system2 solve` and `system2 evaluate`: problems to trees, trees to figures."""

from itertools import islice
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from system2.cli.terminal import Json, finish, progress, warn
from system2.core import Problem, Split, Task, UserError

Count = Annotated[int, Parameter(validator=Number(gte=1))]


def solve(
    *,
    out: Path,
    task: str | None = None,
    problems: Path | None = None,
    split: Split = "test",
    n: Count = 100,
    policy: str = "tiny",
    verifier: str | None = None,
    alpha: float | None = None,
    beta: float | None = None,
    search: str = "greedy",
    select: str | None = None,
    samples: Count = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_tokens: Count = 256,
    budget: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    batch: Count = 64,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Solve problems with a policy, and write each search's tree.

    Takes up where it was killed: finished trees are kept.

    Parameters
    ----------
    out
        The trees file to write: a manifest, then a row a tree.
    task
        The task whose problems are solved (system2 models lists them).
    problems
        A JSONL file of problems, as system2 problems writes it, instead of --task.
    split
        The part of the task's problems.
    n
        How many problems.
    policy
        tiny, a checkpoint folder, or hub:NAME.
    verifier
        A verifier's folder, or tiny/NAME for one shipped with tiny. A token verifier (LLM2)
        guides decoding; an outcome verifier scores the attempts of best_of_n.
    alpha
        The plausible set: tokens with p >= alpha * max p. Without a verifier it alone guides.
    beta
        The weight of a token verifier's scores (default: the one chosen for it).
    search
        greedy, sample, best_of_n.
    select
        best, majority or weighted_majority (default: the search's own).
    samples
        Attempts a problem.
    temperature
        0 is greedy.
    top_p
        Draw from the smallest set of tokens that holds this probability.
    max_tokens
        The longest attempt.
    budget
        Sampled tokens that one problem may cost (default: no limit).
    batch
        Rows decoded at a time.
    seed
        Which problems are drawn, and every draw.
    json
        Print the result as one JSON object.
    """
    from dataclasses import asdict

    from system2.engine.local import load_policy
    from system2.evaluate.solve import SolveConfig, equip
    from system2.evaluate.solve import solve as solved
    from system2.store import Journal, make_manifest
    from system2.tasks.answers import checker_versions

    found, drawn = problems_of(task, problems, split, n, seed)
    loaded = load_policy(policy, max_rows=batch)
    loaded.model.eval()
    guided, judge = equip(loaded, verifier, alpha=alpha, beta=beta)
    config = SolveConfig(
        search, samples, temperature, top_p, max_tokens, budget, select, seed
    )
    described = {
        "task": found.name, "split": split, "n": n, "policy": policy, "verifier": verifier,
        "alpha": alpha, "beta": beta, **asdict(config),
    }  # fmt: skip
    data = [problems] if problems is not None else []
    manifest = make_manifest("solve", described, seed=seed, data=data, versions=checker_versions())
    key = {**described, "problems": [problem.id for problem in drawn]}
    with Journal(out, key) as journal:
        done = len(journal)
        rows = solved(guided, found, drawn[done:], config, verifier=judge)
        for row in progress(rows, "solving", total=len(drawn), done=done):
            journal.append(row)
        grades = [row["grade"] for row in journal]
        journal.finish(header={"manifest": asdict(manifest)})
    if len(drawn) < n:
        warn(f"there are {len(drawn)} problems, fewer than {n}")
    right = sum(grade is True for grade in grades)
    result = {"n": len(grades), "right": right, "out": str(out)}
    finish(f"{right} of {len(grades)} right: {out}", result, as_json=json)


def problems_of(
    task: str | None, file: Path | None, split: Split, n: int, seed: int
) -> tuple[Task, list[Problem]]:
    """Return the task and the problems that a command's options name.

    Raises: `UserError` unless one of task and file is given.
    """
    from system2.store import read_problems
    from system2.tasks import find_task

    if task is not None and file is None:
        found = find_task(task)
        return found, list(islice(found.problems(split, seed), n))
    if file is None or task is not None:
        raise UserError("say which problems: either --task NAME or --problems FILE.jsonl")
    drawn = list(islice(read_problems(file), n))
    names = {problem.task for problem in drawn}
    if len(names) != 1:
        raise UserError(f"{file}: holds problems of {len(names)} tasks; one is needed")
    return find_task(names.pop()), drawn


def evaluate(trees: Path, /, *, json: Json = False) -> None:
    """Summarise a trees file: accuracy with its interval, tokens, and curves in k.

    Attempts that could not be judged are counted apart, never as wrong.

    Parameters
    ----------
    trees
        A trees file, as system2 solve writes it.
    json
        Print the result as one JSON object.
    """
    from system2.evaluate.trees import summarise
    from system2.store import read_trees

    _, rows = read_trees(trees)
    summary = summarise(progress(rows, "reading", total=None))
    accuracy = summary["accuracy"]
    shown = "no accuracy" if accuracy is None else (
        f"accuracy {accuracy:.3f} ({summary['low']:.3f} to {summary['high']:.3f})"
    )  # fmt: skip
    line = (
        f"{summary['n']} problems, {shown}, {summary['unjudged']} unjudged, "
        f"{summary['sampled_tokens']} sampled tokens"
    )
    finish(line, summary, as_json=json)
