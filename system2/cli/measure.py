"""`system2 measure`: how far verifiers are from the truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from system2.cli.options import Count, Json, Judge, NonNegative, NumProblems, PartOf, Verifiers
from system2.cli.solve import problems_of, traces_of
from system2.cli.sweep import listed, team_of
from system2.cli.terminal import counter, finish
from system2.cli.workers import Workers, check_workers, decoded_by
from system2.core import Problem, Task, UserError, Verifier

if TYPE_CHECKING:
    from system2.engine.local import LocalPolicy
    from system2.verify.combined import JudgeRule

CHUNK = 16
"""Problems whose prefixes are rolled out together."""


def measure(
    *,
    out: Path,
    verifier: Verifiers = (),
    judge: Judge = "product",
    task: str | None = None,
    problems: Path | None = None,
    split: PartOf = "test",
    n: NumProblems = None,
    policy: str = "tiny",
    attempts: Count = 4,
    rollouts: Count = 64,
    temperature: NonNegative = 1.0,
    max_tokens: Count = 256,
    batch: Count = 256,
    workers: Workers = 1,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Measure verifiers against the true values of prefixes: errors, calibration, best-of-N.

    The prefixes are those of attempts at held-out problems; their true value is the share of
    many rollouts that end right, and what perfect play makes of them where the task has a
    solver. Writes prefixes.jsonl and results.json into a folder. Takes up where it was killed.

    Parameters
    ----------
    out
        The folder to write.
    verifier
        The verifiers to measure, all on the same prefixes: folders, tiny/NAME, oracle, optimal;
        by commas or repeated; A+B are two that judge together.
    task
        The task whose problems are attempted (system2 models lists them).
    problems
        A JSONL file of problems, as system2 problems writes it, instead of --task.
    policy
        tiny, a checkpoint folder, or hub:NAME.
    attempts
        Attempts a problem; every prefix of them that ends a step is measured.
    rollouts
        Completions of each prefix.
    temperature
        Of attempts and rollouts; 0 is greedy.
    max_tokens
        The longest attempt, and the longest rollout.
    batch
        Rows decoded at a time.
    seed
        Which problems are drawn, and every draw.
    """
    from system2.engine.local import load_policy
    from system2.engine.remote import is_remote
    from system2.evaluate.proposer import verifier_files
    from system2.evaluate.verifiers import MeasureConfig

    config = MeasureConfig(attempts, rollouts, temperature, max_tokens, seed)
    names = listed("verifier", verifier)
    if not names:
        raise UserError("say which verifiers: --verifier NAME (repeatable)")
    if is_remote(policy):
        raise UserError("verifiers are measured beside the policy; load it here, not on a server")
    found, drawn = problems_of(task, problems, split, n, seed)
    check_workers(workers, policy)
    loaded = load_policy(policy, max_rows=batch)
    judges = {name: _judge(name, loaded, found, judge) for name in names}
    asked = {
        "task": found.name, "split": split if problems is None else None, "n": len(drawn),
        "policy": policy, "verifier": names, "judge": judge,
    }  # fmt: skip
    data = [
        *([problems] if problems else []),
        *verifier_files([p for n in names for p in team_of(n)]),
    ]
    with decoded_by(loaded, workers) as proposer:
        rows = _measured(out, asked, data, drawn, loaded, proposer, found, judges, config)
    _finish(out, asked, rows, names, config, as_json=json)


def _judge(name: str, policy: "LocalPolicy", task: Task, rule: "JudgeRule") -> Verifier:
    from system2.evaluate.proposer import guides
    from system2.evaluate.solve import equip

    team = team_of(name)
    if tokens := [one for one in team if guides(one)]:
        raise UserError(f"{tokens[0]} judges tokens, not prefixes; there is nothing to measure")
    judge = equip(policy, team, task=task, judge=rule)[1]
    assert judge is not None, "none of the team guides"
    return judge


def _measured(
    out: Path,
    asked: Mapping[str, Any],
    data: Sequence[Path],
    problems: Sequence[Problem],
    loaded: "LocalPolicy",
    proposer: Any,
    task: Task,
    judges: Mapping[str, Verifier],
    config: Any,
) -> list[dict[str, Any]]:
    """Return the rows of all problems, those that are missing made now."""
    from dataclasses import asdict

    from system2.evaluate.verifiers import measured
    from system2.jobs import do_all
    from system2.store import hash_files
    from system2.tasks.answers import checker_versions

    def work(chunk: Sequence[Problem]) -> dict[str, Any]:
        loaded.forget()  # what a chunk is given does not depend on what ran before
        return {"rows": measured(proposer, task, chunk, judges, config)}

    key = {
        **asked, **asdict(config), **traces_of(problems, [loaded]), **checker_versions(),
        "data": hash_files(data),
    }  # fmt: skip
    jobs = [problems[start : start + CHUNK] for start in range(0, len(problems), CHUNK)]
    with counter("measuring") as tell:
        done = do_all(out / "prefixes.jsonl", key, work, jobs, on_job=tell)
    return [row for chunk in done for row in chunk["rows"]]


def _finish(
    out: Path,
    asked: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    config: Any,
    *,
    as_json: bool,
) -> None:
    from dataclasses import asdict
    from json import dumps

    from system2.evaluate.verifiers import figures_of
    from system2.store import make_manifest, whole_file

    figures = [figures_of(rows, name, rollouts=config.rollouts) for name in names]
    described = {**asked, **asdict(config)}
    manifest = make_manifest("measure", described, seed=config.seed)
    results = {"manifest": asdict(manifest), "verifiers": figures}
    with whole_file(out / "results.json") as file:
        file.write(dumps(results, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n")
    said = [
        f"{figure['verifier']}: MAE {figure['policy']['mae']['value']:.3f}, "
        f"ECE {figure['policy']['ece']['value']:.3f}"
        for figure in figures
        if figure["policy"] is not None
    ]
    short = [
        {
            "verifier": figure["verifier"],
            "mae": figure["policy"] and figure["policy"]["mae"]["value"],
            "ece": figure["policy"] and figure["policy"]["ece"]["value"],
        }
        for figure in figures
    ]
    line = f"{'; '.join(said) or 'nothing could be judged'}: {out / 'results.json'}"
    finish(line, {"n": len(rows), "verifiers": short, "out": str(out)}, as_json=as_json)
