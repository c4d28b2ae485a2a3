"""Run the application: a socket, a process that ends when it is told to."""

import logging
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
from system2.serve.requests import Limits

FEW_PARAMETERS = 50_000_000
"""Models of fewer parameters run on one thread: more of them wait for each other."""


def serve(
    policy: LocalPolicy,
    bound: socket.socket,
    *,
    name: str,
    limits: Limits,
    verifier: Verifier | None = None,
    api_key: str | None = None,
    shutdown_s: float = 30.0,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; what is under way then has `shutdown_s` seconds to end.

    `bound` has the address (see `address.bind`); `on_ready` is called when requests are taken.
    """
    if sum(w.numel() for w in policy.model.parameters()) < FEW_PARAMETERS:
        torch.set_num_threads(1)
    app = make_app(
        policy, name=name, limits=limits, verifier=verifier, api_key=api_key, on_ready=on_ready
    )
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(shutdown_s)),
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
            uvicorn.Server(config).run(sockets=[bound])
    finally:
        for number, handler in before.items():
            _ = signal.signal(number, handler)
