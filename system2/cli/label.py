"""`system2 label` and the training of verifiers of attempts and of their steps."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from system2.cli.learn import train
from system2.cli.options import (
    Adapted,
    Count,
    DataOrder,
    Epochs,
    Json,
    MicroBatches,
    MicroTokens,
    NonNegative,
    NumProblems,
    PartOf,
    Rate,
    Second,
)
from system2.cli.solve import problems_of, taken_up, traces_of
from system2.cli.terminal import finish, progress, warn
from system2.cli.training import (
    finish_training,
    last_loss,
    prepared,
    split_in,
    split_of,
    warn_of_split,
    work_folder,
)
from system2.cli.workers import Workers, check_workers, decoded_by

if TYPE_CHECKING:
    from system2.core import Problem, Task
    from system2.engine.local import LocalPolicy
    from system2.synthesise.step_values import LabelConfig, LabelledSolution
    from system2.train.process import ProcessFit
    from system2.verify.process import ProcessVerifier


def label(
    *,
    out: Path,
    task: str | None = None,
    problems: Path | None = None,
    policy: str = "tiny",
    split: PartOf = "train",
    n: NumProblems = None,
    attempts: Annotated[int, Parameter(validator=Number(gte=0))] = 4,
    reference: Annotated[bool, Parameter(negative=())] = False,
    rollouts: Count = 16,
    temperature: NonNegative = 1.0,
    top_p: float = 1.0,
    max_tokens: Count = 256,
    batch: Count = 128,
    workers: Workers = 1,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Label steps of solutions with how often the policy ends right from there.

    The policy attempts each problem; each distinct beginning of whole steps is finished several
    times and graded. Started again after a kill, it goes on where it was.

    Parameters
    ----------
    out
        The JSONL file to write, one labelled solution a row: problem, steps, values, counts. Its
        manifest is written beside it.
    task
        The task whose problems are attempted.
    problems
        A JSONL file of problems, instead of --task.
    policy
        tiny, a checkpoint folder, or hub:NAME.
    attempts
        Solutions drawn of each problem; 0 with --reference alone.
    reference
        Label the reference solution too.
    rollouts
        How often each beginning is finished.
    temperature
        Of attempts and rollouts.
    top_p
        Draw from the smallest set of tokens that holds this probability.
    max_tokens
        The longest attempt, and the longest rollout.
    batch
        Rows decoded at a time.
    seed
        Which problems are drawn, and every draw.
    """
    from system2.engine.local import load_policy
    from system2.synthesise.step_values import LabelConfig

    config = LabelConfig(attempts, reference, rollouts, temperature, top_p, max_tokens, seed)
    found, drawn = problems_of(task, problems, split, n, seed)
    warn_of_split(split if problems is None else None)
    check_workers(workers, policy)
    loaded = load_policy(policy, max_rows=batch)
    asked = {
        "task": found.name, "split": split if problems is None else None, "n": len(drawn),
        "policy": policy,
    }  # fmt: skip
    data = [problems] if problems is not None else []
    counts = _write_labels(out, asked, data, found, drawn, loaded, config, workers)
    result = {"n": len(drawn), **counts, "out": str(out)}
    finish(
        f"{counts['steps']} steps of {counts['solutions']} solutions to {len(drawn)} problems: "
        f"{out}",
        result,
        as_json=json,
    )


def _write_labels(
    out: Path,
    asked: dict[str, Any],
    data: list[Path],
    task: "Task",
    problems: "list[Problem]",
    policy: "LocalPolicy",
    config: "LabelConfig",
    workers: int,
) -> dict[str, int]:
    """Label what the file lacks yet, write it with its manifest, return what it holds."""
    from system2.store import Journal, make_manifest, write_manifest
    from system2.synthesise.step_values import CHUNK, label_row, label_steps
    from system2.tasks.answers import checker_versions

    described, each = {**asked, **asdict(config)}, config.per_problem
    versions = checker_versions()
    manifest = make_manifest("label", described, seed=config.seed, data=data, versions=versions)
    key = {**described, **traces_of(problems, [policy]), "data": manifest.data_hash}
    with decoded_by(policy, workers) as sampler, Journal(out, key) as journal:
        rows = taken_up(
            journal,
            [problem for problem in problems for _ in range(each)],
            CHUNK * each,
            lambda rest: map(label_row, label_steps(sampler, task, rest[::each], config)),
        )
        for row in progress(rows, "labelling", total=len(problems) * each, done=len(journal)):
            journal.append(row)
        num_steps = sum(len(row["steps"]) for row in journal)
        counts = {"solutions": len(journal), "steps": num_steps}
        write_manifest(out, manifest)
        journal.finish()
    return counts


@train.command(name="outcome-verifier")
def outcome_verifier(
    trees: Path,
    /,
    *,
    out: Path,
    policy: str = "tiny",
    adapted: Adapted = 1,
    epochs: Epochs = 2.0,
    learning_rate: Rate = 1e-5,
    micro_batches: MicroBatches = 4,
    max_tokens: MicroTokens = 4096,
    seed: DataOrder = 42,
    json: Json = False,
) -> None:
    """Train a verifier of whole attempts; the folder is then a --verifier of best_of_n.

    It learns from graded attempts: system2 solve --search sample on training problems, with
    the same policy. Started again after a kill, it goes on where it was.

    Parameters
    ----------
    trees
        The trees file of system2 solve.
    out
        The verifier's folder.
    policy
        The policy whose attempts it will judge: tiny, a checkpoint folder, or hub:NAME.
    """
    from system2.store import make_manifest, read_trees
    from system2.train.outcome import OutcomeFit, fit_outcome_verifier, solutions_of
    from system2.verify.folders import save_verifier

    loaded, precision = prepared(policy, out)
    config = OutcomeFit(
        num_adapted=adapted,
        epochs=epochs,
        learning_rate=learning_rate,
        max_tokens=max_tokens,
        micro_batches=micro_batches,
        mixed_precision=precision,
        seed=seed,
    )
    sampled, rows = read_trees(trees)
    warn_of_split(split_in(sampled))
    solutions = list(solutions_of(rows, loaded.tokenizer, str(trees)))
    described = {"policy": policy, **asdict(config)}
    manifest = make_manifest("train outcome-verifier", described, seed=seed, data=[trees])
    verifier, steps, reports = fit_outcome_verifier(
        loaded.model, solutions, config, folder=work_folder(out)
    )
    loss = last_loss(reports, "training", steps)
    save_verifier(out, verifier, loaded.tokenizer, manifest=asdict(manifest))
    right = sum(solution.is_right for solution in solutions)
    counts = {"attempts": len(solutions), "right": right, "steps": steps}
    finish_training(counts, loss, out, as_json=json)


@train.command(name="process-verifier")
def process_verifier(
    file: Path,
    /,
    *others: Path,
    out: Path,
    policy: str = "tiny",
    format: Literal["labels", "prm800k", "math-shepherd", "processbench", "math-aps"] = "labels",
    labels: Literal["soft", "hard"] = "soft",
    layout: Second = "shared",
    adapted: Adapted = 1,
    aggregation: Literal["last", "min", "product"] = "last",
    step_stop: str | None = None,
    epochs: Epochs = 2.0,
    learning_rate: Rate = 1e-3,
    micro_batches: MicroBatches = 1,
    max_tokens: MicroTokens = 2048,
    seed: DataOrder = 42,
    json: Json = False,
) -> None:
    """Train a verifier of steps (a PRM); the folder is then a --verifier of beam, mcts and others.

    It learns, at the end of each step, how likely the solution ends right, and is calibrated on
    one problem in twelve that it does not learn from. Started again after a kill, it goes on
    where it was.

    Parameters
    ----------
    file
        The labels file of system2 label, or one of another format.
    others
        More such files, to learn from together.
    out
        The verifier's folder.
    policy
        The policy whose steps it will judge: tiny, a checkpoint folder, or hub:NAME.
    format
        Of the files: labels (ours), or those of PRM800K, Math-Shepherd, ProcessBench, MATH-APS.
    labels
        soft learns the share of rollouts that ended right, hard whether any did.
    aggregation
        How the values of a prefix's steps become its value; written into the folder.
    step_stop
        The text that ends a step (default: the task's own, else a line's end).
    """
    from system2.store import make_manifest
    from system2.synthesise.prm_formats import read_labels
    from system2.train.process import ProcessFit, divide
    from system2.verify.folders import save_verifier

    loaded, precision = prepared(policy, out)
    files = [file, *others]
    for path in files:
        warn_of_split(split_of(path))
    learned, kept = divide(solution for path in files for solution in read_labels(path, format))
    config = ProcessFit(
        layout=layout,
        num_adapted=adapted,
        aggregation=aggregation,
        step_stop=_step_stop(learned, step_stop),
        epochs=epochs,
        learning_rate=learning_rate,
        max_tokens=max_tokens,
        micro_batches=micro_batches,
        mixed_precision=precision,
        seed=seed,
    )
    described = {"policy": policy, "format": format, "labels": labels, **asdict(config)}
    manifest = make_manifest("train process-verifier", described, seed=seed, data=files)
    verifier, counts, loss = _fitted(loaded, learned, kept, config, labels, out)
    save_verifier(out, verifier, loaded.tokenizer, manifest=asdict(manifest))
    finish_training(counts, loss, out, as_json=json)


def _fitted(
    policy: "LocalPolicy",
    learned: "Sequence[LabelledSolution]",
    kept: "Sequence[LabelledSolution]",
    config: "ProcessFit",
    labels: Literal["soft", "hard"],
    out: Path,
) -> "tuple[ProcessVerifier, dict[str, int], float | None]":
    """Return a verifier trained and calibrated, what it was made of, and its last loss."""
    from functools import partial

    from system2.train.process import calibrated, fit_process_verifier, judged_texts

    model, tokenizer = policy.model, policy.tokenizer
    judged = partial(
        judged_texts,
        tokenizer=tokenizer,
        step_stop=config.step_stop,
        max_positions=model.config.max_positions,
    )
    texts = list(judged(learned, labels=labels))
    verifier, steps, reports = fit_process_verifier(
        model, tokenizer, texts, config, folder=work_folder(out)
    )
    loss = last_loss(reports, f"training {config.layout}", steps)
    held_out = list(judged(kept))
    if not held_out:
        warn("no problem is left to calibrate on: its values are as they were learned")
    verifier.calibration = calibrated(verifier.eval(), held_out)
    num_values = sum(len(text.targets) for text in texts)
    counts = {"solutions": len(learned), "values": num_values, "held_out": len(kept)}
    return verifier, {**counts, "steps": steps}, loss


def _step_stop(solutions: "Sequence[LabelledSolution]", given: str | None) -> str:
    """Return the text that ends a step: as given, that of the first solution's task, or a line's.

    Raises: `UserError` where it is empty.
    """
    from system2.core import UserError
    from system2.tasks import TASKS

    if given is None:
        known = TASKS.get(solutions[0].problem.task) if solutions else None
        return known.step_stop if known is not None else "\n"
    if not given:
        raise UserError("--step-stop is empty; a step must end with some text")
    return given
