"""Real servers in processes of their own."""

import asyncio
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import httpx2
import pytest

START_S = 120
KEY = "the-key-of-the-shared-server"


@dataclass(frozen=True)
class Server:
    """A `system2 serve` under way; `key` is what it asks for."""

    process: "subprocess.Popen[str]"
    url: str
    key: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return what shows the key."""
        return {} if self.key is None else {"Authorization": f"Bearer {self.key}"}

    def client(self, timeout: Any = 60) -> httpx2.Client:
        """Return a client that has the key."""
        return httpx2.Client(base_url=self.url, headers=self.headers, timeout=timeout)

    def crowd(self) -> httpx2.AsyncClient:
        """Return a client of any number of connections."""
        limits = httpx2.Limits(max_connections=None)
        return httpx2.AsyncClient(
            base_url=self.url, headers=self.headers, timeout=120, limits=limits
        )

    async def many(self, path: str, bodies: list[dict[str, Any]]) -> list[httpx2.Response]:
        """Ask everything at the same time; return the answers."""
        async with self.crowd() as client:
            return await asyncio.gather(*(client.post(path, json=body) for body in bodies))

    def counts(self, name: str) -> dict[str, float]:
        """Return a metric's values by their labels."""
        text = httpx2.get(f"{self.url}/metrics", headers=self.headers, timeout=60).text
        found = re.findall(rf"^system2_{name}(\S*) (\S+)$", text, re.MULTILINE)
        assert found, text
        return {labels: float(value) for labels, value in found}

    def gauge(self, name: str) -> float:
        """Return a metric that has one value."""
        return self.counts(name)[""]

    def comes_to_rest(self) -> bool:
        """Wait until nothing is under way; return whether it came to that."""
        deadline = time.monotonic() + 30
        while self.gauge("requests_open") or self.gauge("draws_live"):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

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
    key = str(words[words.index("--api-key") + 1]) if "--api-key" in words else None
    return Server(process, line.split()[2], key)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def server(start: Callable[..., Server]) -> Server:
    """A server of `tiny` that all tests share; it asks for a key."""
    return start("--max-requests", 1000, "--cache-bytes", 16 << 20, "--api-key", KEY)


@pytest.fixture(scope="session")
def small(start: Callable[..., Server]) -> Server:
    """A server that takes three requests at a time, under other names."""
    return start(
        *("--max-requests", 3, "--api-key", KEY, "--name", "mine"),
        *("--host", "127.0.0.1", "--allowed-host", "inside.example", "--allowed-host", "b.example"),
    )


@pytest.fixture(scope="session")
def questions() -> list[str]:
    """Word problems that `tiny` knows to answer."""
    from system2.tasks import find_task

    return [p.prompt for p in islice(find_task("word_problems").problems("test", 7), 60)]
