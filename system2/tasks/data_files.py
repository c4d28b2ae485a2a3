"""Published problem sets as files: found on disk, else fetched from the hub, and split once.

A set is looked for under the folder that the environment variable SYSTEM2_DATA names, else under
`../shared/data` beside the working folder or this checkout; then on the Hugging Face hub.
"""

import csv
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from system2.core import SPLITS, Problem, Split, UserError, derive_seed
from system2.tasks.splits import split_of

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a set: its path under the data folder, and where the hub keeps the same rows.

    `hub_files` is a glob of parquet or JSONL files inside the dataset repository `hub`; None: no
    hub keeps them. Only the rows from `start` to before `stop` belong to the source (None: all).
    """

    path: str
    hub: str | None = None
    hub_files: str = ""
    start: int = 0
    stop: int | None = None


def _local_file(path: str) -> Path | None:
    """Return the file on disk; a folder named by SYSTEM2_DATA is then the only one searched."""
    named = os.environ.get("SYSTEM2_DATA")
    checkout = Path(__file__).resolve().parents[2]
    beside = [folder.parent / "shared" / "data" for folder in (Path.cwd(), checkout)]
    for folder in [Path(named)] if named else beside:
        if (folder / path).is_file():
            return folder / path
    return None


def read_file(file: Path) -> list[Row]:
    """Return the rows of a JSON list, of a CSV file with a heading, or of a JSONL file."""
    rows: list[Any]
    try:
        text = file.read_text(encoding="utf-8-sig" if file.suffix == ".csv" else "utf-8")
        if file.suffix == ".csv":
            rows = list(csv.DictReader(text.splitlines()))
        else:
            rows = json.loads(text) if file.suffix == ".json" else _read_lines(file, text)
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{file}: row {number} is no JSON object")
    return rows


def _read_lines(file: Path, text: str) -> list[Any]:
    rows: list[Any] = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise UserError(f"{file}, line {number}: no valid JSON ({error.msg})") from error
    return rows


def _read_hub(source: Source) -> list[Row]:
    """Return the rows of a hub dataset's files, fetched once into the hub's own cache."""
    if source.hub is None:
        raise UserError(
            f"{source.path} is not on disk: set SYSTEM2_DATA to the folder that holds it"
        )
    import huggingface_hub

    try:
        folder: str = huggingface_hub.snapshot_download(
            source.hub, repo_type="dataset", allow_patterns=source.hub_files, etag_timeout=5
        )
    except Exception as error:  # all that networks, proxies and the hub can raise
        raise UserError(
            f"{source.path} is neither on disk nor to be had from the hub ({source.hub}): set "
            f"SYSTEM2_DATA to the folder that holds it ({type(error).__name__})"
        ) from error
    rows: list[Row] = []
    for file in sorted(Path(folder).glob(source.hub_files)):
        rows += _read_parquet(file) if file.suffix == ".parquet" else read_file(file)
    if not rows:
        raise UserError(f"{source.hub} on the hub holds no {source.hub_files}")
    return rows


def _read_parquet(file: Path) -> list[Row]:
    from pyarrow import parquet

    return cast(list[Row], parquet.read_table(file).to_pylist())


def problem_id(task: str, prompt: str) -> str:
    """Return an id that follows from the prompt, so that it is the same in every file."""
    return f"{task}-{hashlib.blake2b(_content(prompt).encode(), digest_size=6).hexdigest()}"


def _content(prompt: str) -> str:
    """Return the prompt without white space, which differs between copies of a set."""
    return "".join(prompt.split())


def split_published(
    split: Split,
    seed: int,
    train: Source,
    test: Source,
    to_problem: Callable[[Row], Problem | None],
) -> Iterator[Problem]:
    """Yield one split of a set published in two parts; the seed shuffles (0: as published).

    "test" is the published test part. "validation" is the tenth of the published training part
    that `split_of` puts there, "train" the rest of it. A problem that recurs counts once, one
    that the test part holds too belongs to the test, and a row without a problem is left out.
    Raises: `UserError` on an unknown split, a broken file, a set that can be had nowhere.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    held_out = _by_content(test, _local_file(test.path), to_problem)
    if split == "test":
        members = list(held_out.values())
    else:
        known = _by_content(train, _local_file(train.path), to_problem)
        members = [
            problem
            for content, problem in known.items()
            if content not in held_out
            and (split_of(content) == "validation") == (split == "validation")
        ]
    if seed:
        random.Random(derive_seed(train.path, split, "order", seed)).shuffle(members)
    return iter(members)


@lru_cache(maxsize=8)
def _by_content(
    source: Source, file: Path | None, to_problem: Callable[[Row], Problem | None]
) -> Mapping[str, Problem]:
    """Return a source's problems by their content, read once from its file or else the hub."""
    rows = _read_hub(source) if file is None else read_file(file)
    rows = rows[source.start : source.stop]
    return {_content(problem.prompt): problem for problem in filter(None, map(to_problem, rows))}
