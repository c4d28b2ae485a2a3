"""The thread that owns the decoder: requests of many connections, decoded in one batch.

Place in the flow: `app` submits requests from its event loop (`search` from threads of its own)
and awaits their futures; this thread alone touches the model. It takes in what has come, steps
the decoder, and tells what was drawn. A request that nobody waits for any more is cancelled by
cancelling its future. Where a step fails, the requests under way fail with it, and decoding goes
on with a fresh decoder.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeAlias, TypeVar

from system2.core import Alternatives, Completion, SampleRequest, Tokens, UserError
from system2.engine.decoder import Job
from system2.engine.local import LocalPolicy

_T = TypeVar("_T")
Drawn: TypeAlias = list[list[Completion]]
Hear: TypeAlias = Callable[[int, Tokens, tuple[float, ...], tuple[Alternatives, ...]], None]
"""Called with the number of a draw (p * n + i), its new tokens, their logprobs (nats), and the
alternatives at their places where these were asked for."""
CallSoon: TypeAlias = Callable[[Callable[[], None]], object]
"""Has a function called soon in another thread, in order: `call_soon_threadsafe`."""

_log = logging.getLogger(__name__)


class QueueFullError(Exception):
    """There are as many requests under way as may be; come again later."""


class StoppedError(Exception):
    """The server stops, and takes no request any more."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the decoder had to do when it last looked: draws that wait, draws under way."""

    num_waiting: int = 0
    num_live: int = 0
    positions_requested: int = 0
    positions_computed: int = 0
    num_failures: int = 0


@dataclass(slots=True, eq=False)
class _Ticket:
    """A request under way, and who waits for it."""

    request: SampleRequest
    future: "Future[Drawn]"
    hear: Hear | None
    num_alternatives: int
    job: Job | None = None
    num_heard: list[int] = field(default_factory=list[int])


class DecoderLoop:
    """A decoder in a thread of its own; `max_requests` may be under way or waiting.

    `call_soon`, set before it starts, takes what streams hear to the thread that they live in.
    `load` is what the thread last said of itself.
    """

    def __init__(self, policy: LocalPolicy, *, max_requests: int) -> None:
        self.max_requests = max_requests
        self.load = Load()
        self._policy = policy
        self.call_soon: CallSoon = _nobody_listens
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._open: dict[_Ticket, None] = {}
        self._num_failures = 0
        self._num_requests = 0
        self._lock = threading.Lock()
        self._is_stopped = self._is_ended = False
        self._decoder = policy.decoder()
        self._requested = self._computed = 0  # positions of the decoders before this one
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)

    @property
    def num_requests(self) -> int:
        """How many requests are waiting or under way."""
        return self._num_requests

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Have the thread end after its step; whoever still waits is told `StoppedError`."""
        self._put(self._stop)

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def enter(self) -> None:
        """Count one more request. Raises: `QueueFullError` where there are enough."""
        with self._lock:
            if self._num_requests >= self.max_requests:
                raise QueueFullError(f"{self._num_requests} requests are waiting or under way")
            self._num_requests += 1

    def leave(self) -> None:
        """Count one request less."""
        with self._lock:
            self._num_requests -= 1

    def submit(
        self, request: SampleRequest, hear: Hear | None = None, *, num_alternatives: int = 0
    ) -> "Future[Drawn]":
        """Queue a request; its future has completions `[p][i]`, and cancels it when cancelled.

        The future fails with `UserError` where the request does not fit or the model fails.
        Whoever calls has entered before, or does so for one who has.
        """
        future: Future[Drawn] = Future()
        ticket = _Ticket(request, future, hear, num_alternatives)

        def dropped(done: "Future[Drawn]") -> None:
            if done.cancelled():
                self._put(lambda: self._drop(ticket))

        future.add_done_callback(dropped)
        self._put(lambda: self._admit(ticket))
        return future

    def call(self, function: Callable[[], _T]) -> "Future[_T]":
        """Have a function called in the thread that may touch the model."""
        future: Future[_T] = Future()

        def called() -> None:
            if self._is_stopped:
                _fail(future, StoppedError("the server stops"))
            elif future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except Exception as error:
                    future.set_exception(error)

        self._put(called)
        return future

    def _put(self, call: Callable[[], None]) -> None:
        """Have something done in the thread; here, once that has ended."""
        with self._lock:
            if not self._is_ended:
                self._inbox.put(call)
                return
        call()

    # In the thread

    def _run(self) -> None:
        while not self._is_stopped:
            self._take_in(is_patient=self._decoder.is_idle)
            if self._is_stopped:
                break
            if not self._decoder.is_idle:
                self._step()
            self._report()
        for ticket in list(self._open):
            _fail(ticket.future, StoppedError("the server stops"))
        self._open.clear()
        with self._lock:
            self._is_ended = True
        self._take_in(is_patient=False)  # what came too late is told so

    def _take_in(self, *, is_patient: bool) -> None:
        """Do what has been put into the inbox; wait for something where there is time."""
        try:
            self._inbox.get(block=is_patient)()
            while True:
                self._inbox.get_nowait()()
        except Empty:
            return

    def _stop(self) -> None:
        self._is_stopped = True

    def _admit(self, ticket: _Ticket) -> None:
        if self._is_stopped:
            _fail(ticket.future, StoppedError("the server stops"))
            return
        if ticket.future.cancelled():
            return
        try:
            ticket.job = self._decoder.submit(
                ticket.request, num_alternatives=ticket.num_alternatives
            )
        except UserError as error:
            _fail(ticket.future, error)
            return
        ticket.num_heard = [0] * len(ticket.job.draws)
        self._open[ticket] = None

    def _drop(self, ticket: _Ticket) -> None:
        if ticket in self._open and ticket.job is not None:
            self._decoder.cancel(ticket.job)
            del self._open[ticket]

    def _step(self) -> None:
        try:
            self._decoder.step()
        except Exception as error:
            self._start_afresh(error)
        said = [tell for ticket in self._open if ticket.hear for tell in _news(ticket, ticket.hear)]
        if said:
            self._tell(said)
        done = [t for t in self._open if t.job is not None and t.job.is_done]
        for ticket in done:
            del self._open[ticket]
            if ticket.job is not None and ticket.future.set_running_or_notify_cancel():
                ticket.future.set_result(ticket.job.completions())

    def _start_afresh(self, error: Exception) -> None:
        """Fail what is under way, for its rows are lost, and forget what they have left."""
        if not isinstance(error, UserError):
            _log.error("a decoding step failed", exc_info=error)
        self._num_failures += 1
        for ticket in self._open:
            _fail(ticket.future, error)
        self._open.clear()
        self._requested += self._decoder.positions_requested
        self._computed += self._decoder.positions_computed
        self._policy.forget()
        self._decoder = self._policy.decoder()

    def _tell(self, said: list[Callable[[], None]]) -> None:
        def tell() -> None:
            for one in said:
                one()

        try:
            _ = self.call_soon(tell)
        except RuntimeError:  # the event loop is closed: nobody listens
            _log.debug("nobody listens any more")

    def _report(self) -> None:
        self.load = Load(
            num_waiting=self._decoder.num_waiting,
            num_live=self._decoder.num_live,
            positions_requested=self._requested + self._decoder.positions_requested,
            positions_computed=self._computed + self._decoder.positions_computed,
            num_failures=self._num_failures,
        )


def _nobody_listens(call: Callable[[], None]) -> None:
    raise RuntimeError("no event loop runs")


def _fail(future: "Future[_T]", error: Exception) -> None:
    """Tell whoever still waits that it came to nothing."""
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _news(ticket: _Ticket, hear: Hear) -> list[Callable[[], None]]:
    """Return the calls that tell what a ticket's draws have got since it was last told."""
    said: list[Callable[[], None]] = []
    for number, draw in enumerate(ticket.job.draws if ticket.job else ()):
        heard = ticket.num_heard[number]
        if len(draw.tokens) > heard:
            tokens, logprobs = tuple(draw.tokens[heard:]), tuple(draw.logprobs[heard:])
            ticket.num_heard[number] = len(draw.tokens)
            others = tuple(draw.alternatives[heard:])
            said.append(partial(hear, number, tokens, logprobs, others))
    return said
