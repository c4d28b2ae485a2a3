"""`system2 problems`: write down problems of a task."""

from itertools import islice
from pathlib import Path

from system2.cli.options import Count, Json
from system2.cli.terminal import finish, progress, warn
from system2.core import Split


def problems(
    task: str,
    /,
    *,
    out: Path,
    split: Split = "train",
    n: Count = 100,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Write problems of a task as JSON lines: id, task, prompt, answer, metadata.

    The same task, split and seed give the same problems; splits never share one.

    Parameters
    ----------
    task
        The task's name; "system2 models" lists them.
    out
        The JSONL file to write; its manifest is written beside it.
    split
        The part of the task's problems; no problem is in two.
    n
        How many; a split may hold fewer.
    seed
        Which problems: another seed draws others of the same split.
    """
    from system2.store import make_manifest, problem_row, write_jsonl
    from system2.tasks import find_task

    drawn = islice(find_task(task).problems(split, seed), n)
    rows = (problem_row(problem) for problem in progress(drawn, task, total=n))
    manifest = make_manifest("problems", {"task": task, "split": split, "n": n}, seed=seed)
    num_rows = write_jsonl(out, rows, manifest)
    if num_rows < n:
        warn(f"the {split} split of {task} holds {num_rows} problems, fewer than {n}")
    result = {"task": task, "split": split, "seed": seed, "n": num_rows, "out": str(out)}
    finish(f"wrote {num_rows} problems to {out}", result, as_json=json)
