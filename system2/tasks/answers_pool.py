"""A pool of killable processes for the algebra that `answers` needs.

math-verify limits its time by SIGALRM, which works in the main thread only and does not stop
everything. Here a worker that takes too long, too much memory or dies is killed and replaced,
from any thread. The limit is processor time, so that a crowded machine judges as an idle one
does; the caller waits at most `PATIENCE` times as long by the clock. Workers start lazily, are
plain subprocesses (so the caller may be a daemonic child or a main module without a guard), and
end with the caller.
"""

import atexit
import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from system2.core import UserError

START_TIMEOUT_S = 300.0
MAX_REQUEST_BYTES = 48_000
MAX_WORKERS = 64
PATIENCE = 10


class WorkerGoneError(Exception):
    """The worker died or did not reply in time."""


class Worker:
    """One worker process."""

    def __init__(self) -> None:
        root = str(Path(__file__).parents[2])
        paths = [root, os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "system2.tasks.answers_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
            start_new_session=True,  # Ctrl-C is the caller's to handle
        )
        self._left = b""
        self.process_id = self._process.pid

    def greet(self) -> dict[str, Any]:
        """Return what the worker says of itself once it is loaded."""
        return self._read(START_TIMEOUT_S)

    def ask(self, request: dict[str, Any], patience_s: float) -> bool | None:
        """Return the worker's reply. Raises: `WorkerGoneError`; the worker must then be dropped."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerGoneError from error
        return self._read(patience_s)

    def _read(self, patience_s: float) -> Any:
        assert self._process.stdout is not None
        deadline = time.monotonic() + patience_s
        descriptor = self._process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while b"\n" not in self._left:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not poll.poll(left_s * 1000):
                raise WorkerGoneError
            chunk = os.read(descriptor, 65_536)
            if not chunk:
                raise WorkerGoneError
            self._left += chunk
        line, self._left = self._left.split(b"\n", 1)
        return json.loads(line)

    def is_alive(self) -> bool:
        """Return whether the process still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._close()
        self._process.wait()

    def forget(self) -> None:
        """Let go of a parent's worker in a forked child, without touching the process."""
        self._close()
        self._process.returncode = 0

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


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
        worker = Worker()
        with self._lock:
            self._workers.add(worker)
        try:
            greeting = worker.greet()
        except BaseException as error:
            self._drop(worker)
            if isinstance(error, WorkerGoneError):
                raise UserError(
                    "the algebra process does not start; "
                    "`python -m system2.tasks.answers_worker` shows why"
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
