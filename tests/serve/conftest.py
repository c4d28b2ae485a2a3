"""Real servers in processes of their own."""

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import pytest

START_S = 120


@dataclass(frozen=True)
class Server:
    """A `system2 serve` under way."""

    process: "subprocess.Popen[str]"
    url: str

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it as an operator would; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)

    def rss(self) -> int:
        """Return the bytes of memory that it holds."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def launch(*words: object) -> Server:
    """Start a server and wait until it listens."""
    port = [] if "--port" in words else ["--port", "0"]
    command = [sys.executable, "-m", "system2", "serve", *port, *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        _ = selector.register(process.stdout, selectors.EVENT_READ)
        deadline = time.monotonic() + START_S
        while not selector.select(1.0):
            assert time.monotonic() < deadline, "the server does not start"
    line = process.stdout.readline()
    assert line.startswith("listening on http://"), line
    return Server(process, line.split()[2])


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., Server]]:
    """Starts servers; those that are left at the end are killed."""
    started: list[Server] = []

    def starting(*words: object) -> Server:
        started.append(launch(*words))
        return started[-1]

    yield starting
    for server in started:
        server.process.kill()
        _ = server.process.wait(60)
        assert server.process.stdout is not None
        server.process.stdout.close()


@pytest.fixture(scope="module")
def server(start: Callable[..., Server]) -> Server:
    """A server of `tiny` that a whole file shares."""
    return start("--max-requests", 1000, "--cache-bytes", 16 << 20)


@pytest.fixture(scope="session")
def questions() -> list[str]:
    """Word problems that `tiny` knows to answer."""
    from system2.tasks import find_task

    return [p.prompt for p in islice(find_task("word_problems").problems("test", 7), 60)]
