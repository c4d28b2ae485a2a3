"""What every command says to its user: results on stdout, progress and warnings on stderr."""

import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

_T = TypeVar("_T")


def finish(line: str, result: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a command's result as the last line of stdout: for a person, or as one JSON object."""
    say(json.dumps(result, ensure_ascii=False, allow_nan=False) if as_json else line)


def say(line: str) -> None:
    """Print a line to stdout; where its reader has gone away (`| head`), end quietly."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None


def warn(line: str) -> None:
    """Print a warning, one line, to stderr."""
    print(f"system2: warning: {line}", file=sys.stderr)


@contextmanager
def counter(label: str) -> Generator[Callable[[int, int], None]]:
    """Give a function that shows (done, of how many) as a progress bar on stderr."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with _bar(label) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def progress(items: Iterable[_T], label: str, *, total: int | None, done: int = 0) -> Iterator[_T]:
    """Yield the items under a progress bar on stderr, `done` of `total` being finished before.

    `total` None: not known. No bar where stderr is not a terminal.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    with _bar(label) as bar:
        task = bar.add_task(label, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(task)


def _bar(label: str) -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
