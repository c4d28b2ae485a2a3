"""The client's side of a request: its body as it comes, and whether it still listens.

Place in the flow: `app` reads a body, and `unless_gone` stops what nobody waits for any more.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request

from system2.serve.errors import ApiError

_T = TypeVar("_T")

BODY_TIMEOUT_S = 30.0
"""A body that takes longer to arrive is given up."""
MAX_DRAINED = 64
"""So many times the limit of a body that is too large is read, so that its sender hears of it."""


class GoneError(Exception):
    """The client went away."""


async def unless_gone(request: Request, wanted: Awaitable[_T]) -> _T:
    """Await something for a client that still listens.

    Raises: `GoneError` where it does not, having cancelled it.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answer = asyncio.ensure_future(wanted)
    listening = asyncio.create_task(gone())
    try:
        _ = await asyncio.wait((answer, listening), return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        raise GoneError
    finally:
        _ = answer.cancel()
        _ = listening.cancel()


async def body_of(request: Request, limit: int) -> bytes:
    """Return a request's body. Raises: `ApiError` where it is too large, too slow or no JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, "send the body as JSON, with the header Content-Type: application/json")
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.stream():
                size += len(part)
                if size <= limit:
                    parts.append(part)
                else:
                    parts.clear()
                if size > MAX_DRAINED * limit:
                    break
    except TimeoutError:
        raise ApiError(
            408, f"no whole body came in {BODY_TIMEOUT_S:.0f} s", headers={"Connection": "close"}
        ) from None
    if size > limit:
        raise ApiError(
            413,
            f"the body has over {limit} bytes; that is the most one may have",
            code="body_too_large",
            headers={"Connection": "close"},
        )
    return b"".join(parts)
