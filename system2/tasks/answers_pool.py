"""A pool of killable processes for the algebra that `answers` needs.

math-verify limits its time by SIGALRM, which works in the main thread only and does not stop
everything. Here a worker that takes too long, too much memory or dies is killed and replaced,
from any thread. The limit is processor time, so that a crowded machine judges as an idle one
does; the caller waits at most `PATIENCE` times as long by the clock. Workers start lazily, are
plain subprocesses (so the caller may be a daemonic child or a main module without a guard), and
end with the caller.
"""

import atexit
import json
import os
import queue
import threading
import warnings
from typing import Any

from system2.core import UserError
from system2.tasks.worker import Worker, WorkerGoneError

START_TIMEOUT_S = 300.0
MODULE = "system2.tasks.answers_worker"
MAX_REQUEST_BYTES = 48_000
MAX_WORKERS = 64
PATIENCE = 10


class Pool:
    """At most `size` workers, each lent to one thread at a time."""

    def __init__(self) -> None:
        self._slots: queue.LifoQueue[Worker | None] = queue.LifoQueue()
        self._workers: set[Worker] = set()
        self._lock = threading.Lock()
        self._size = 0
        self._missing = False

    def grow(self, size: int) -> None:
        """Allow at least `size` workers."""
        with self._lock:
            for _ in range(min(size, MAX_WORKERS) - self._size):
                self._slots.put(None)
                self._size += 1

    def ask(self, request: dict[str, Any]) -> bool | None:
        """Return a worker's reply; None where it was killed for its time or died."""
        if self._missing or len(json.dumps(request)) > MAX_REQUEST_BYTES:
            return None
        worker = self._slots.get()
        try:
            if worker is not None and not worker.is_alive():
                self._drop(worker)
                worker = None
            worker = worker or self._start()
            if worker is None:
                return None
            return worker.ask(request, request["patience_s"])
        except BaseException as error:  # interrupted, its reply would answer the next request
            self._drop(worker)
            worker = None
            if isinstance(error, WorkerGoneError):
                return None
            raise
        finally:
            self._slots.put(worker)

    def close(self) -> None:
        """Kill all workers; new ones start when they are asked for."""
        with self._lock:
            workers, self._workers = self._workers, set()
        for worker in workers:
            worker.kill()

    def process_ids(self) -> list[int]:
        """Return the process ids of the workers that run."""
        with self._lock:
            return [worker.process_id for worker in self._workers]

    def forget(self) -> None:
        """Let go of all workers in a forked child."""
        for worker in self._workers:
            worker.forget()

    def _start(self) -> Worker | None:
        worker = Worker(MODULE)
        with self._lock:
            self._workers.add(worker)
        try:
            greeting = worker.reply(START_TIMEOUT_S)
        except BaseException as error:
            self._drop(worker)
            if isinstance(error, WorkerGoneError):
                raise UserError(
                    f"the algebra process does not start; `python -m {MODULE}` shows why"
                ) from error
            raise
        if "ready" in greeting:
            return worker
        self._drop(worker)
        if "refused" in greeting:
            raise UserError(
                f"{greeting['refused']}, which flips verdicts; install 'math-verify[antlr4-13-2]'"
            )
        self._missing = True
        warnings.warn(
            f"answers that need algebra stay unjudged: {greeting['missing']}", stacklevel=4
        )
        return None

    def _drop(self, worker: Worker | None) -> None:
        if worker is not None:
            with self._lock:
                self._workers.discard(worker)
            worker.kill()


_pool = Pool()


def ask_algebra(
    prediction: str, gold: str, *, timeout_s: float, rounding_digits: int, workers: int
) -> bool | None:
    """Return the symbolic grade of two answers; None where it could not be had in time.

    `timeout_s` is seconds of a ready worker's processor time.
    Raises: `UserError` where the installed antlr would flip verdicts.
    """
    _pool.grow(workers)
    return _pool.ask(
        {
            "prediction": prediction,
            "gold": gold,
            "timeout_s": timeout_s,
            "patience_s": timeout_s * PATIENCE,
            "rounding_digits": rounding_digits,
        }
    )


def close() -> None:
    """Kill all workers now; they start again when they are needed."""
    _pool.close()


def process_ids() -> list[int]:
    """Return the process ids of the workers that run."""
    return _pool.process_ids()


def _after_fork() -> None:
    global _pool
    _pool.forget()
    _pool = Pool()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close)
