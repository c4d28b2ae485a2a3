"""Run the application: a socket, a process that ends when it is told to."""

import asyncio
import logging
import math
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import torch
import uvicorn

from system2.core import Verifier
from system2.engine.local import LocalPolicy
from system2.serve.address import listen
from system2.serve.app import make_app
from system2.serve.loop import DecoderLoop
from system2.serve.requests import Limits, Served

FEW_PARAMETERS = 50_000_000
"""Models of fewer parameters run on one thread: more of them wait for each other."""

LAST_WORDS_S = 2
"""Seconds for the answers of requests that are told that the server stops."""


class _Server(uvicorn.Server):
    """A server that stops its decoder `shutdown_s` seconds after it is told to end."""

    def __init__(self, config: uvicorn.Config, loop: DecoderLoop, shutdown_s: float) -> None:
        super().__init__(config)
        self._loop, self._shutdown_s = loop, shutdown_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and wait for those that are open."""
        timer = asyncio.get_running_loop().call_later(self._shutdown_s, self._loop.stop)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def serve(
    policy: LocalPolicy,
    bound: socket.socket,
    *,
    name: str,
    limits: Limits,
    verifier: Verifier | None = None,
    hosts: frozenset[str] | None = None,
    api_key: str | None = None,
    shutdown_s: float = 30.0,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; what is under way then has `shutdown_s` seconds to end.

    What has not ended by then is told so (503). `bound` has the address (`address.bind`), which
    requests may call by the names in `hosts` (None: any; `address.hosts_of`). `on_ready` is
    called when requests are taken.
    """
    if sum(w.numel() for w in policy.model.parameters()) < FEW_PARAMETERS:
        torch.set_num_threads(1)
    shape = policy.model.config
    served = Served(name, policy.tokenizer, shape.vocab_size, shape.max_positions, limits)
    loop = DecoderLoop(policy, max_requests=limits.max_requests)
    app = make_app(served, loop, verifier=verifier, hosts=hosts, api_key=api_key, on_ready=on_ready)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(shutdown_s) + LAST_WORDS_S,
        timeout_keep_alive=30,
        h11_max_incomplete_event_size=1 << 16,
    )
    listen(bound)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

    def noted(number: int, frame: FrameType | None) -> None:
        """Take the signal that uvicorn raises again once it has shut down."""

    before = {number: signal.signal(number, noted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with suppress(KeyboardInterrupt):
            _Server(config, loop, shutdown_s).run(sockets=[bound])
    finally:
        for number, handler in before.items():
            _ = signal.signal(number, handler)
