"""The address that a server listens on: had before anything heavy is loaded."""

import re
import socket
from collections.abc import Iterable
from ipaddress import ip_address

from system2.core import UserError

BACKLOG = 2048
"""Connections that may wait to be taken."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""What a server that this machine alone reaches is called."""
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:@/\[\]\s]+?)\.?)(?::[0-9]*)?")


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


def host_named(text: str) -> str:
    """Return the host that a Host header names, without its port; any other text as it is.

    >>> host_named("LocalHost:8000"), host_named("[::1]:80"), host_named("a.b.")
    ('localhost', '::1', 'a.b')
    """
    found = _HOST.fullmatch(text.strip().lower())
    return (found[1] or found[2]) if found else text


def hosts_of(bound: socket.socket, allowed: Iterable[str] = ()) -> frozenset[str] | None:
    """Return the names that requests may call a server by; None: any.

    A web page can have its own name lead to this machine (DNS rebinding), and so ask what only
    this machine may. On a loopback address the server therefore listens to its own names and
    those `allowed`; elsewhere to any, unless some are `allowed`.
    Raises: `UserError` where one of these is no name.
    """
    names = {name.strip().lower() for name in allowed}
    for name in names:
        if host_named(f"[{name}]" if ":" in name else name) != name:
            raise UserError(f"--allowed-host {name}: it has to be a name alone, as api.example.com")
    address = ip_address(str(bound.getsockname()[0]).partition("%")[0])
    if not (names or address.is_loopback):
        return None
    own = () if address.is_unspecified else (str(address),)
    return frozenset({*LOOPBACK, *own, *names})


def _refusal(host: str, port: int, error: Exception) -> UserError:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UserError(f"cannot listen on {host} port {port} ({said.lower()}); see --host and --port")
