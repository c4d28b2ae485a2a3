"""Run the application: a socket, a process that ends when it is told to."""

import logging
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import torch
import uvicorn

from system2.core import UserError, Verifier
from system2.engine.local import LocalPolicy
from system2.serve.app import make_app
from system2.serve.requests import Limits

BACKLOG = 2048
"""Connections that may wait to be taken."""
FEW_PARAMETERS = 50_000_000
"""Models of fewer parameters run on one thread: more of them wait for each other."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 picks a free one.

    Raises: `UserError` where the address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UserError(
            f"cannot listen on {host} port {port}: {said.lower()}; name another by --port"
        ) from error


def url_of(listening: socket.socket) -> str:
    """Return the address of a listening socket as clients write it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    policy: LocalPolicy,
    listening: socket.socket,
    *,
    name: str,
    limits: Limits,
    verifier: Verifier | None = None,
    api_key: str | None = None,
    shutdown_s: float = 30.0,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; what is under way then has `shutdown_s` seconds to end."""
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
    logging.getLogger("uvicorn").setLevel(logging.WARNING)

    def noted(number: int, frame: FrameType | None) -> None:
        """Take the signal that uvicorn raises again once it has shut down."""

    before = {number: signal.signal(number, noted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        for number, handler in before.items():
            _ = signal.signal(number, handler)
