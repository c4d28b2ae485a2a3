"""Many jobs, each done once: in several processes, kept as they end, taken up after a kill.

Place in the flow: what splits into parts that know nothing of each other (problems to explore,
methods to compare) -> `do_all` -> the parts' results, in order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from system2.engine.parent import end_with_parent
from system2.store import Journal, Row, journal_key, read_jsonl

_Job = TypeVar("_Job")


def do_all(
    path: Path,
    config: Mapping[str, Any],
    do: Callable[[_Job], Row],
    jobs: Sequence[_Job],
    *,
    processes: int = 1,
    on_job: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Return what `do` makes of each job, in order, keeping it in a JSONL file as it is made.

    Started again with as many jobs and the same `config` (the two must say all that the results
    depend on, the weights too), it goes on where it was; the whole file lies at `path` once
    every job is done, and asked for again it is read. With several processes `do` and the jobs
    are sent to them, so `do` is a function of a module. `on_job` is told how many jobs are
    done, of how many.
    """
    config = {"jobs": len(jobs), **config}
    first = journal_key(config)
    if path.exists() and (rows := list(read_jsonl(path)))[:1] == [first]:
        return rows[1:]
    with Journal(path, config) as journal:
        for row in _results(do, jobs[len(journal) :], processes):
            journal.append(row)
            if on_job is not None:
                on_job(len(journal), len(jobs))
        rows = list(journal)
        journal.finish(header=first)
    return rows


def _results(do: Callable[[_Job], Row], jobs: Sequence[_Job], processes: int) -> Iterator[Row]:
    """Yield the result of each job, in order; 1 process does them here."""
    if processes <= 1 or len(jobs) <= 1:
        yield from map(do, jobs)
        return
    import multiprocessing

    context = multiprocessing.get_context("spawn")  # a fork would share torch's thread pools
    count, starts = min(processes, len(jobs)), end_with_parent
    with ProcessPoolExecutor(count, mp_context=context, initializer=starts) as pool:
        try:
            yield from pool.map(do, jobs)
        except BaseException:  # do not wait for what is still queued
            pool.shutdown(wait=False, cancel_futures=True)
            raise
