"""The HTTP side: paths, answers whole or in streams, and what becomes of a failure.

Place in the flow: `server` runs this application; it reads requests by `requests`, has them
decoded by `loop`, and writes what `answers` makes of the completions.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.exceptions import HTTPException

from system2.core import UserError, Verifier
from system2.serve.answers import Chunks, SearchChunks, comment, event, whole, whole_search
from system2.serve.client import GoneError, body_of, unless_gone
from system2.serve.door import Door, refused
from system2.serve.errors import ApiError, stopping
from system2.serve.loop import DecoderLoop, QueueFullError, StoppedError
from system2.serve.metrics import Metrics
from system2.serve.requests import Ask, Kind, Served, read_ask
from system2.serve.search import Searching, check_search

LARGE_BODY = 1 << 14
"""Bodies of more bytes are read in a thread, so that others are not kept waiting."""
MAX_SEARCHES = 32
"""Searches that are stepped at the same time; further ones wait."""
STOP_S = 5.0
"""How long a server that ends waits for the decoder's step under way."""
BEAT_S = 5.0
"""A stream that waits for a search is told after so many seconds that it goes on."""


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
    served: Served,
    loop: DecoderLoop,
    *,
    verifier: Verifier | None = None,
    hosts: frozenset[str] | None = None,
    api_key: str | None = None,
    on_ready: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Return the application that serves what a decoder's loop draws.

    `verifier` scores whole attempts for searches that ask for it; a token verifier is the
    policy's own guide. `hosts` are the names that it answers to (None: any). `on_ready` is
    called when requests are taken.
    """
    state = _State(served, loop, verifier)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        loop.call_soon = asyncio.get_running_loop().call_soon_threadsafe
        loop.start()
        on_ready()
        yield
        loop.stop()
        await asyncio.to_thread(loop.join, STOP_S)
        state.threads.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    _add_paths(app, state)
    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, refused)
    app.add_middleware(Door, metrics=state.metrics, hosts=hosts, api_key=api_key)
    return app


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


async def _answer(request: Request, kind: Kind, state: _State) -> Response:
    """Answer a request for completions."""
    body = await body_of(request, state.served.limits.max_body_bytes)
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
                answer = _streamed_search if ask.is_streamed else _searched
            else:
                answer = _streamed if ask.is_streamed else _drawn
            return await answer(request, ask, state)
    except GoneError:
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
    """Return what a client is told of a failure, None where its inside is nobody's business."""
    if isinstance(error, UserError):
        return ApiError(500, str(error), code="model_failed")
    if isinstance(error, StoppedError | CancelledError):
        return stopping("the server stops")
    return None


async def _drawn(request: Request, ask: Ask, state: _State) -> Response:
    """Answer with whole completions."""
    future = state.loop.submit(ask.request, num_alternatives=ask.num_alternatives)
    future.add_done_callback(lambda _: state.loop.leave())
    drawn = await unless_gone(request, asyncio.wrap_future(future))

    def answer() -> Response:
        return JSONResponse(whole(ask, state.served, drawn))

    flat = [one for completions in drawn for one in completions]
    state.metrics.completion_tokens += sum(len(one.tokens) for one in flat)
    # alternatives take long to be written down
    return await asyncio.to_thread(answer) if ask.num_alternatives else answer()


async def _searched(request: Request, ask: Ask, state: _State) -> Response:
    """Answer with the attempt that a search chose."""
    searching = Searching(ask, state.served, state.loop, state.verifier)
    future = state.threads.submit(searching.run)
    future.add_done_callback(lambda _: state.loop.leave())
    try:
        found = await unless_gone(request, asyncio.wrap_future(future))
    finally:
        searching.cancel()
    state.metrics.completion_tokens += found.sampled_tokens
    return JSONResponse(whole_search(ask, state.served, found))


async def _streamed(request: Request, ask: Ask, state: _State) -> Response:
    """Answer with the pieces of completions as they are drawn."""
    news: asyncio.Queue[Any] = asyncio.Queue()

    def hear(*heard: Any) -> None:
        news.put_nowait(heard)

    future = state.loop.submit(ask.request, hear, num_alternatives=ask.num_alternatives)
    chunks = Chunks(ask, state.served)
    return await _sent_on(request, state, _Stream(news, future, future.cancel, chunks))


async def _streamed_search(request: Request, ask: Ask, state: _State) -> Response:
    """Answer with comments on how far a search has come, then with what it found."""
    news: asyncio.Queue[Any] = asyncio.Queue()
    tell = asyncio.get_running_loop().call_soon_threadsafe

    def hear(num_sampled: int) -> None:
        _ = tell(news.put_nowait, (num_sampled,))

    searching = Searching(ask, state.served, state.loop, state.verifier, hear)
    future = state.threads.submit(searching.run)

    def cancel() -> None:
        _ = future.cancel()  # where it has not begun
        searching.cancel()

    chunks = SearchChunks(ask, state.served)
    stream = _Stream(news, future, cancel, chunks, beat_s=BEAT_S)
    return await _sent_on(request, state, stream)


@dataclass(frozen=True, slots=True)
class _Stream:
    """What is told piece by piece: `news` of it, what its `future` comes to last, as `chunks`.

    `cancel` ends it where nobody listens; every `beat_s` seconds without news (None: never) a
    comment says that it goes on.
    """

    news: "asyncio.Queue[Any]"
    future: "Future[Any]"
    cancel: Callable[[], object]
    chunks: Chunks | SearchChunks
    beat_s: float | None = None

    async def next(self) -> Any:
        """Return what is heard next: a piece, the end as `_End`, an error; None: a beat."""
        try:
            return await asyncio.wait_for(self.news.get(), self.beat_s)
        except TimeoutError:
            return None


@dataclass(frozen=True, slots=True)
class _End:
    """What a stream comes to."""

    result: Any


async def _sent_on(request: Request, state: _State, stream: _Stream) -> Response:
    """Answer with a stream of events, once there is something to tell of."""
    tell = asyncio.get_running_loop().call_soon_threadsafe

    def ended(done: "Future[Any]") -> None:
        state.loop.leave()
        if not done.cancelled():
            _ = tell(stream.news.put_nowait, done.exception() or _End(done.result()))

    stream.future.add_done_callback(ended)
    try:
        first = await unless_gone(request, stream.next())
        if isinstance(first, Exception):
            raise first
    except BaseException:
        _ = stream.cancel()
        raise

    async def sent() -> AsyncIterator[bytes]:
        is_whole = False
        try:
            async for one in _events(stream, first):
                yield one
            is_whole = True
            state.metrics.completion_tokens += stream.chunks.num_drawn
        finally:
            _ = stream.cancel()
            state.metrics.num_gone += not is_whole

    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(sent(), media_type="text/event-stream", headers=headers)


async def _events(stream: _Stream, first: Any) -> AsyncIterator[bytes]:
    """Yield the events of what is heard, from the first on."""
    for one in stream.chunks.first():
        yield one
    heard = first
    while not isinstance(heard, _End | Exception):
        if heard is None:
            yield comment("the search goes on")
        elif (more := stream.chunks.more(*heard)) is not None:
            yield more
        heard = await stream.next()
    if isinstance(heard, Exception):
        told = _as_refusal(heard) or ApiError(500, "the server failed")
        yield event(told.body())
    else:
        for one in stream.chunks.ends(heard.result):
            yield one
