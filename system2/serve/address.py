"""The address that a server listens on: had before anything heavy is loaded."""

import socket

from system2.core import UserError

BACKLOG = 2048
"""Connections that may wait to be taken."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that has the address, and does not listen yet; port 0 picks a free one.

    Raises: `UserError` where the address cannot be had.
    """
    found = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except (OSError, UnicodeError) as error:
        if found is not None:
            found.close()
        raise _refusal(host, port, error) from error
    return found


def listen(bound: socket.socket) -> None:
    """Take connections from now on. Raises: `UserError` where another process came first."""
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        host, port = bound.getsockname()[:2]
        raise _refusal(host, port, error) from error


def url_of(bound: socket.socket) -> str:
    """Return the address of a socket as clients write it."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _refusal(host: str, port: int, error: Exception) -> UserError:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UserError(f"cannot listen on {host} port {port} ({said.lower()}); see --host and --port")
