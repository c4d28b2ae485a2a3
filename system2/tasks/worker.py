"""A process of ours that answers JSON lines with JSON lines, and can be killed at any time.

What may hang, crash or fill the memory (another library's algebra, another library's data sets)
runs in one. Plain subprocesses, so that the caller may be a daemonic child or a main module
without a guard.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class WorkerGoneError(Exception):
    """The worker died or did not reply in time."""


class Worker:
    """One process that runs a module of ours; `environment` adds to the caller's own."""

    def __init__(self, module: str, environment: Mapping[str, str] | None = None) -> None:
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, os.environ.get("PYTHONPATH", "")]
        added = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), **(environment or {})}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **added},
            start_new_session=True,  # Ctrl-C is the caller's to handle
        )
        self._left = b""
        self.process_id = self._process.pid

    def ask(self, request: Mapping[str, Any], patience_s: float) -> Any:
        """Return the worker's reply. Raises: `WorkerGoneError`; the worker must then be dropped."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerGoneError from error
        return self.reply(patience_s)

    def reply(self, patience_s: float) -> Any:
        """Return the next line that the worker writes, read. Raises: as `ask`."""
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
