"""The HTTP side: paths, keys, sizes, streams, and what happens when a client goes away.

Place in the flow: `server` runs this application; it reads requests by `requests`, has them
decoded by `loop`, and writes what `answers` makes of the completions.
"""

import asyncio
import hmac
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from system2.core import Completion, Tokens, UserError, Verifier
from system2.engine.local import LocalPolicy
from system2.serve.answers import Chunks, event, head, usage, whole
from system2.serve.errors import ApiError
from system2.serve.loop import DecoderLoop, Drawn, QueueFullError, StoppedError
from system2.serve.metrics import Metrics
from system2.serve.requests import Ask, Kind, Limits, Served, read_ask
from system2.serve.search import Found, Searching, check_search

_T = TypeVar("_T")
_News: TypeAlias = tuple[int, Tokens, tuple[float, ...]] | Drawn | Exception

BODY_TIMEOUT_S = 30.0
"""A body that takes longer to arrive is given up."""
MAX_DRAINED = 64
"""So many times the limit of a body that is too large is read, so that its sender hears of it."""
LARGE_BODY = 1 << 14
"""Bodies of more bytes are read in a thread, so that others are not kept waiting."""
MAX_SEARCHES = 32
"""Searches that are stepped at the same time; further ones wait."""


class _GoneError(Exception):
    """The client went away."""


@dataclass(slots=True)
class _State:
    """What all requests share."""

    served: Served
    loop: DecoderLoop
    verifier: Verifier | None
    metrics: Metrics = field(default_factory=Metrics)
    threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(MAX_SEARCHES, "search")
    )


def make_app(
    policy: LocalPolicy,
    *,
    name: str,
    limits: Limits,
    verifier: Verifier | None = None,
    api_key: str | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Return the application that serves a policy called `name`.

    `verifier` scores whole attempts for searches that ask for it; a token verifier is the
    policy's own guide. `on_ready` is called when requests are taken.
    """
    config = policy.model.config
    served = Served(name, policy.tokenizer, config.vocab_size, config.max_positions, limits)
    loop = DecoderLoop(policy, max_requests=limits.max_requests, call_soon=_not_running)
    state = _State(served, loop, verifier)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        loop.call_soon = asyncio.get_running_loop().call_soon_threadsafe
        loop.start()
        on_ready()
        yield
        await asyncio.to_thread(loop.stop)
        state.threads.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    _add_paths(app, state)
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _refused)
    app.add_middleware(_Door, metrics=state.metrics, api_key=api_key)
    return app


def _not_running(call: Callable[[], None]) -> None:
    raise RuntimeError("the server is not running")


def _add_paths(app: FastAPI, state: _State) -> None:
    model = {
        "id": state.served.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "system2",
        "max_model_len": state.served.max_positions,
    }

    async def complete(request: Request) -> Response:
        return await _answer(request, "completion", state)

    async def chat(request: Request) -> Response:
        return await _answer(request, "chat", state)

    async def models() -> Response:
        return JSONResponse({"object": "list", "data": [model]})

    async def one_model(name: str) -> Response:
        if name != state.served.name:
            raise ApiError(404, f"no model {name[:100]!r} here", code="model_not_found")
        return JSONResponse(model)

    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    async def metrics() -> Response:
        text = state.metrics.text(state.loop)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    app.add_api_route("/v1/completions", complete, methods=["POST"])
    app.add_api_route("/v1/chat/completions", chat, methods=["POST"])
    app.add_api_route("/v1/models", models)
    app.add_api_route("/v1/models/{name:path}", one_model)
    app.add_api_route("/health", health)
    app.add_api_route("/metrics", metrics)


class _Door:
    """What every request passes: the key is asked for, the answer is counted."""

    def __init__(self, app: ASGIApp, metrics: Metrics, api_key: str | None) -> None:
        self._app, self._metrics, self._key = app, metrics, api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 499

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            if self._is_known(scope):
                await self._app(scope, receive, sending)
            else:
                refusal = ApiError(
                    401,
                    "the API key is missing or wrong: send the header Authorization: Bearer KEY",
                    code="invalid_api_key",
                    headers={"WWW-Authenticate": "Bearer", "Connection": "close"},
                )
                await _refused(None, refusal)(scope, receive, sending)
        except Exception:
            status = 500  # as it will be answered, outside of here
            raise
        finally:
            self._metrics.answered(scope["path"], status, time.monotonic() - started)

    def _is_known(self, scope: Scope) -> bool:
        if self._key is None or scope["path"] == "/health":
            return True
        wanted = b"Bearer " + self._key.encode()
        return any(
            name == b"authorization" and hmac.compare_digest(value, wanted)
            for name, value in scope["headers"]
        )


def _refused(request: Request | None, error: Exception) -> Response:
    """Return an error as the OpenAI API says it; what is our fault says nothing of its inside."""
    if isinstance(error, HTTPException):
        error = ApiError(error.status_code, str(error.detail), headers=error.headers)
    if not isinstance(error, ApiError):
        error = ApiError(500, f"the server failed ({type(error).__name__}); its log says where")
    return JSONResponse(error.body(), error.status, headers=error.headers)


async def _answer(request: Request, kind: Kind, state: _State) -> Response:
    """Answer a request for completions."""
    body = await _body(request, state.served.limits.max_body_bytes)
    if len(body) > LARGE_BODY:
        ask = await asyncio.to_thread(read_ask, kind, body, state.served)
    else:
        ask = read_ask(kind, body, state.served)
    if ask.search is not None:
        check_search(ask, state.served, state.verifier)
    try:
        state.loop.enter()
    except QueueFullError as error:
        raise ApiError(
            429, f"{error}; try again later", code="queue_full", headers={"Retry-After": "1"}
        ) from error
    state.metrics.prompt_tokens += sum(map(len, ask.request.prefixes))
    try:
        with _failures_told():
            if ask.search is not None:
                return await _searched(request, ask, state)
            if ask.is_streamed:
                return await _streamed(request, ask, state)
            return await _drawn(request, ask, state)
    except _GoneError:
        state.metrics.num_gone += 1
        return Response(status_code=499)  # nobody reads it


@contextmanager
def _failures_told() -> Generator[None, None, None]:
    """Turn what the decoder fails with into what clients are told."""
    try:
        yield
    except Exception as error:
        told = _as_refusal(error)
        if told is None:
            raise
        raise told from error


def _as_refusal(error: Exception) -> ApiError | None:
    if isinstance(error, UserError):
        return ApiError(500, str(error), code="model_failed")
    if isinstance(error, StoppedError):
        return ApiError(503, str(error), code="stopping", headers={"Retry-After": "5"})
    return None


async def _drawn(request: Request, ask: Ask, state: _State) -> Response:
    """Answer with whole completions."""
    future = state.loop.submit(ask.request)
    future.add_done_callback(lambda _: state.loop.leave())
    drawn = await _unless_gone(request, asyncio.wrap_future(future))
    found = whole(ask, state.served, drawn)
    state.metrics.completion_tokens += found["usage"]["completion_tokens"]
    return JSONResponse(found)


async def _searched(request: Request, ask: Ask, state: _State) -> Response:
    """Answer with the attempt that a search chose."""
    searching = Searching(ask, state.served, state.loop, state.verifier)
    future = state.threads.submit(searching.run)
    future.add_done_callback(lambda _: state.loop.leave())
    try:
        found = await _unless_gone(request, asyncio.wrap_future(future))
    except CancelledError as error:
        raise StoppedError("the server stops") from error
    finally:
        searching.cancel()
    state.metrics.completion_tokens += found.sampled_tokens
    return JSONResponse(_search_body(ask, state.served, found))


def _search_body(ask: Ask, served: Served, found: Found) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": found.text},
        "logprobs": None,
        "finish_reason": found.finish_reason,
    }
    told = asdict(found)
    del told["text"], told["finish_reason"]
    assert ask.search is not None, "no search was asked for"
    return {
        **head(ask, served),
        "choices": [choice],
        "usage": usage(ask, found.sampled_tokens),
        "system2": {"search": ask.search.search, **told},
    }


async def _streamed(request: Request, ask: Ask, state: _State) -> Response:
    """Answer with a stream of events, once there is a first token to tell of."""
    news: asyncio.Queue[_News] = asyncio.Queue()
    tell = asyncio.get_running_loop().call_soon_threadsafe

    def hear(number: int, tokens: Tokens, logprobs: tuple[float, ...]) -> None:
        news.put_nowait((number, tokens, logprobs))

    def ended(done: Any) -> None:
        state.loop.leave()
        if not done.cancelled():
            tell(news.put_nowait, done.exception() or done.result())

    future = state.loop.submit(ask.request, hear)
    future.add_done_callback(ended)
    try:
        first = await _unless_gone(request, news.get())
        if isinstance(first, Exception):
            raise first
    except BaseException:
        _ = future.cancel()
        raise

    async def events() -> AsyncIterator[bytes]:
        is_whole = False
        try:
            async for one in _events(Chunks(ask, state.served), first, news, state.metrics):
                yield one
            is_whole = True
        finally:
            _ = future.cancel()
            state.metrics.num_gone += not is_whole

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


async def _events(
    chunks: Chunks, first: _News, news: "asyncio.Queue[_News]", metrics: Metrics
) -> AsyncIterator[bytes]:
    """Yield the events of what is heard, from the first on."""
    for one in chunks.first():
        yield one
    heard = first
    while isinstance(heard, tuple):
        if (more := chunks.more(*heard)) is not None:
            yield more
        heard = await news.get()
    if isinstance(heard, Exception):
        told = _as_refusal(heard) or ApiError(500, "the server failed")
        yield event(told.body())
    else:
        flat: list[Completion] = [one for completions in heard for one in completions]
        for number, drawn in enumerate(flat):
            yield chunks.end(number, drawn)
        metrics.completion_tokens += chunks.num_drawn
        for one in chunks.last():
            yield one


async def _unless_gone(request: Request, wanted: Awaitable[_T]) -> _T:
    """Await something for a client that still listens.

    Raises: `_GoneError` where it does not, having cancelled it.
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
        raise _GoneError
    finally:
        _ = answer.cancel()
        _ = listening.cancel()


async def _body(request: Request, limit: int) -> bytes:
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
