"""What every request passes on its way in: its Host and its key are looked at, its answer counted.

Place in the flow: `app` stands behind this door.
"""

import asyncio
import hmac
import time

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from system2.serve.address import host_named
from system2.serve.errors import ApiError, stopping
from system2.serve.metrics import Metrics


class Door:
    """Answers what may not come in; counts every answer.

    `hosts` are the names that the server may be called by (None: any). `api_key` None: no key
    is asked for; never one for `/health`.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, hosts: frozenset[str] | None, api_key: str | None
    ) -> None:
        self._app, self._metrics, self._hosts, self._key = app, metrics, hosts, api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        refusal = self._refusal(scope)
        try:
            if refusal is None:
                await self._app(scope, receive, sending)
            else:
                await refused(None, refusal)(scope, receive, sending)
        except asyncio.CancelledError:  # the time that a stopping server gives is over
            if not status:
                await refused(None, stopping("the server stops"))(scope, receive, sending)
            raise
        except Exception:
            status = 500  # as it will be answered, outside of here
            raise
        finally:
            self._metrics.answered(scope["path"], status or 499, time.monotonic() - started)

    def _refusal(self, scope: Scope) -> ApiError | None:
        """Return why a request may not come in, None where it may."""
        if self._hosts is not None:
            for host in _values(scope, b"host"):
                if host_named(host.decode("latin-1")) not in self._hosts:
                    return _unknown_host(host.decode("latin-1"))
        if self._key is None or scope["path"] == "/health":
            return None
        wanted = b"Bearer " + self._key.encode()
        if any(hmac.compare_digest(key, wanted) for key in _values(scope, b"authorization")):
            return None
        return ApiError(
            401,
            "the API key is missing or wrong: send the header Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer", "Connection": "close"},
        )


def _values(scope: Scope, header: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == header]


def _unknown_host(host: str) -> ApiError:
    """Return the refusal of a web page whose name was made to lead here (DNS rebinding)."""
    return ApiError(
        403,
        f"this server is not called {host[:100]!r}; --allowed-host lets it be",
        code="host_not_allowed",
        headers={"Connection": "close"},
    )


def refused(request: Request | None, error: Exception) -> Response:
    """Return an error as the OpenAI API says it; what is our fault says nothing of its inside."""
    if isinstance(error, HTTPException):
        error = ApiError(error.status_code, str(error.detail), headers=error.headers)
    if not isinstance(error, ApiError):
        error = ApiError(500, f"the server failed ({type(error).__name__}); its log says where")
    return JSONResponse(error.body(), error.status, headers=error.headers)
