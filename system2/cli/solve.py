"""`system2 solve` and `system2 evaluate`: problems to trees, trees to figures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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
from system2.cli.terminal import finish, progress, warn
from system2.cli.workers import Workers, check_workers, decoded_by
from system2.core import Problem, Split, Task, UserError, Verifier

if TYPE_CHECKING:
    from system2.engine.local import LocalPolicy
    from system2.engine.remote import RemotePolicy
    from system2.evaluate.proposer import Proposer
    from system2.evaluate.solve import SolveConfig
    from system2.store import Journal

NUM_PROBLEMS = 100
"""How many problems of a task are taken where nothing else is said."""

CHUNK = 64
"""Problems whose searches are batched together."""

_Item = TypeVar("_Item")


def solve(
    *,
    out: Path,
    task: str | None = None,
    problems: Path | None = None,
    split: PartOf = "test",
    n: NumProblems = None,
    policy: str = "tiny",
    tokenizer: str | None = None,
    verifier: Verifiers = (),
    judge: Judge = "product",
    alpha: Plausible = None,
    beta: Weight = None,
    gate: Gate = 1.0,
    search: str = "greedy",
    select: str | None = None,
    dials: Dials | None = None,
    temperature: NonNegative = 1.0,
    top_p: float = 1.0,
    max_tokens: Count = 256,
    budget: Count | None = None,
    batch: Count = 64,
    workers: Workers = 1,
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
    policy
        tiny, a checkpoint folder, hub:NAME, or a server: http://HOST:PORT/v1#MODEL.
    tokenizer
        The tokenizer of a server's model: its checkpoint folder, or tiny.
    verifier
        A verifier's folder, or tiny/NAME for one shipped with tiny. A token verifier (LLM2)
        guides decoding; others judge what best_of_n, beam, best_first and mcts find. Repeatable:
        one token verifier at most, and judges. oracle judges by the task's own grade of finished
        attempts, optimal also by perfect play from what is unfinished (of tasks with a solver).
    search
        Whole attempts: greedy, sample, majority, adaptive_consistency, best_of_n,
        weighted_majority, revision, meta; step by step: beam, diverse_beam, lookahead, best_first,
        astar, dfs, mcts, particle. All but the first four need a verifier of attempts.
    select
        best, majority or weighted_majority (default: the search's own).
    temperature
        0 is greedy.
    top_p
        Draw from the smallest set of tokens that holds this probability.
    max_tokens
        The longest attempt, or the longest step of a search that goes step by step.
    budget
        Sampled tokens that one problem may cost (default: no limit).
    batch
        Rows decoded at a time; requests at a time to a server.
    seed
        Which problems are drawn, and every draw.
    """
    from dataclasses import asdict, replace

    from system2.evaluate.proposer import Proposer, verifier_files
    from system2.evaluate.solve import SolveConfig
    from system2.evaluate.solve import solve as solved

    found, drawn = problems_of(task, problems, split, n, seed)
    given = (dials or Dials()).given
    config = replace(
        SolveConfig(search, None, temperature, top_p, max_tokens, budget, select, seed), **given
    )
    _check_dials(config, given, found, drawn[0])
    check_workers(workers, policy)
    named = Proposer(policy, tokenizer, verifier, judge, alpha, beta, gate, batch)
    guided, judged = named.load(found)
    _check_verifier(search, named, judged)
    described = {
        "task": found.name, "split": split if problems is None else None, "n": len(drawn),
        "policy": policy, "verifier": recorded(verifier), "alpha": alpha, "beta": beta,
        **asdict(config),
    }  # fmt: skip
    described |= {"gate": gate} if gate < 1 else {}
    described |= {"judge": judge} if len(verifier) > 1 else {}
    described |= {"tokenizer": tokenizer} if tokenizer else {}
    data = [*([problems] if problems else []), *verifier_files(verifier)]
    with decoded_by(guided, workers) as proposer:
        grades = _written(
            out, described, data, drawn, guided,
            lambda rest: solved(proposer, found, rest, config, verifier=judged, chunk=CHUNK),
        )  # fmt: skip
    right = sum(grade is True for grade in grades)
    result = {"n": len(grades), "right": right, "out": str(out)}
    finish(f"{right} of {len(grades)} right: {out}", result, as_json=json)


def _written(
    out: Path,
    described: Mapping[str, Any],
    data: Sequence[Path],
    problems: Sequence[Problem],
    policy: "LocalPolicy | RemotePolicy",
    work: Callable[[Sequence[Problem]], Iterator[dict[str, Any]]],
) -> list[bool | None]:
    """Write the rows that a journal lacks, then the file; return the grades of all."""
    from dataclasses import asdict

    from system2.store import Journal, make_manifest
    from system2.tasks.answers import checker_versions

    seed, versions = described["seed"], checker_versions()
    manifest = make_manifest("solve", dict(described), seed=seed, data=data, versions=versions)
    key = {**described, **traces_of(problems, [policy]), "data": manifest.data_hash}
    with Journal(out, key) as journal:
        rows = taken_up(journal, problems, CHUNK, work)
        for row in progress(rows, "solving", total=len(problems), done=len(journal)):
            journal.append(row)
        grades = [row["grade"] for row in journal]
        journal.finish(header={"manifest": asdict(manifest)})
    return grades


def problems_of(
    task: str | None,
    file: Path | None,
    split: Split,
    n: int | None,
    seed: int,
    *,
    default: int = NUM_PROBLEMS,
) -> tuple[Task, list[Problem]]:
    """Return the task and the problems (at least one) that a command's options name.

    `n` None: `default` of a task, all of a file. Warns where there are fewer than n.
    Raises: `UserError` unless one of task and file is given, and holds problems of one task.
    """
    from system2.store import read_problems
    from system2.tasks import find_task

    if file is not None and task is None:
        source, drawn = str(file), list(islice(read_problems(file), n))
        names = {problem.task for problem in drawn}
        if len(names) > 1:
            raise UserError(f"{file} holds problems of {len(names)} tasks; one is needed")
        found = find_task(names.pop()) if names else None
    elif task is not None and file is None:
        source, found = f"the {split} split of {task}", find_task(task)
        drawn = list(islice(found.problems(split, seed), n or default))
    else:
        raise UserError("say which problems: either --task NAME or --problems FILE.jsonl")
    if found is None or not drawn:
        raise UserError(f"{source} holds no problem")
    if n is not None and len(drawn) < n:
        warn(f"{source} holds {len(drawn)} problems, fewer than {n}")
    return found, drawn


def traces_of(problems: Sequence[Problem], policies: Sequence[Any]) -> dict[str, Any]:
    """Return what tells a run from another of the same options: its problems and weights."""
    from system2.engine.local import LocalPolicy
    from system2.verify.folders import policy_print

    return {
        "problems": [problem.id for problem in problems],
        "weights": [
            policy_print(policy.model)
            if isinstance(policy, LocalPolicy)
            else str(policy.remote.url)
            for policy in policies
        ],
    }


def taken_up(
    journal: "Journal",
    items: Sequence[_Item],
    chunk: int,
    work: Callable[[Sequence[_Item]], Iterator[dict[str, Any]]],
) -> Iterator[dict[str, Any]]:
    """Yield the rows of items that a journal lacks, out of the chunks of an undisturbed run.

    What is in a batch decides how sums are rounded: where a kill fell inside a chunk, its
    first rows are made again and left out, so that the file is the same to the last digit.
    """
    done = len(journal)
    if done < len(items):
        start = done - done % chunk
        yield from islice(work(items[start:]), done - start, None)


def _check_dials(
    config: "SolveConfig", given: Mapping[str, Any], task: Task, problem: Problem
) -> None:
    """Refuse, before anything is loaded, what the search cannot do. Raises: `UserError`."""
    from system2.evaluate.solve import dials_of
    from system2.select import SELECTIONS
    from system2.tree import Tree

    _ = config.steps(Tree(problem, 0, (0,)), task.step_stop)  # its name and its parameters
    if config.select is not None and config.select not in SELECTIONS:
        raise UserError(f"no selection {config.select!r}; there are {', '.join(SELECTIONS)}")
    if config.search == "greedy" and (config.samples or 1) > 1:
        raise UserError("search greedy makes one attempt; for --samples use --search sample")
    for dial, value in given.items():
        if dial not in dials_of(config.search) and (dial, value) != ("samples", 1):
            raise UserError(f"search {config.search} has no use for --{dial.replace('_', '-')}")


def recorded(verifiers: Sequence[str]) -> str | list[str] | None:
    """Return what a manifest says of the verifiers: None, the name of the one, or all names."""
    return list(verifiers) if len(verifiers) > 1 else next(iter(verifiers), None)


def _check_verifier(search: str, named: "Proposer", judge: Verifier | None) -> None:
    """Refuse verifiers that the search would not use, or lacks. Raises: `UserError`."""
    from system2.evaluate.proposer import guides
    from system2.search import SCORED_SEARCHES

    check_scored(named.verifiers, named.beta, named.gate)
    judges = ", ".join(name for name in named.verifiers if not guides(name))
    if search in SCORED_SEARCHES and judge is None:
        tokens = ", ".join(named.verifiers)
        given = f"{tokens} judges tokens" if tokens else "none is given"
        raise UserError(
            f"search {search} needs a verifier of whole attempts, and {given} "
            "(system2 train outcome-verifier makes one)"
        )
    if judge is not None and search not in SCORED_SEARCHES:
        raise UserError(
            f"{judges} scores attempts, which search {search} does not ask for; "
            f"use --search {SCORED_SEARCHES[0]}"
        )
    is_weighed = named.alpha is not None or named.beta is not None or named.gate < 1
    if judge is not None and is_weighed and not any(map(guides, named.verifiers)):
        raise UserError(
            f"{judges} scores whole attempts; --alpha, --beta and --gate are for token verifiers"
        )


def evaluate(trees: Path, /, *, json: Json = False) -> None:
    """Summarise a trees file: accuracy with its interval, tokens, and curves in k.

    Attempts that could not be judged are counted apart, never as wrong.

    Parameters
    ----------
    trees
        A trees file, as system2 solve writes it.
    """
    from system2.evaluate.trees import summarise
    from system2.store import read_trees

    _, rows = read_trees(trees)
    summary = summarise(progress(rows, "reading", total=None))
    accuracy = summary["accuracy"]
    shown = (
        "no accuracy"
        if accuracy is None
        else f"accuracy {accuracy:.3f} ({summary['low']:.3f} to {summary['high']:.3f})"
    )
    line = (
        f"{summary['n']} problems, {shown}, {summary['unjudged']} unjudged, "
        f"{summary['sampled_tokens']} sampled tokens"
    )
    finish(line, summary, as_json=json)
