"""A local policy in several processes on a CPU, all over the same weights in shared memory.

Place in the flow: between `run` and a `LocalPolicy` in each worker. The draws that are asked for
stand in a line in the order of their texts, which is cut where the work is equal: what shares a
beginning goes to one worker, whose prefix tree knows it, and tick after tick to the same one. A
draw depends on its request and numbers alone, so it does not matter who makes it. Why processes: a
step of a small model is too short for two threads to share. What `native` packs (of models up to
its `MOST_BYTES`), and a prefix tree, every worker has for itself.
"""

import os
import signal
import traceback
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context, reduction
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any

import torch
from torch.autograd.graph import increment_version

from system2.core import Completion, SampleRequest, UserError
from system2.engine.local import LocalPolicy
from system2.engine.memory import keep_freed_memory
from system2.engine.model import LanguageModel
from system2.engine.parent import end_with_parent
from system2.engine.shared import Layout, SharedWeights, placed, unnamed_file
from system2.engine.tokenizer import Tokenizer

PATIENCE_S = 5.0
"""How long the end of a process that has closed its pipe is waited for."""


class ProcessPolicy:
    """A `LocalPolicy` on a CPU as a `Policy` of `num_workers` processes; to be used by `with`.

    It draws what the policy itself would; log-probabilities may differ in the last digit, for
    what is in a batch decides how sums are rounded. Each worker has one thread, decodes up to the
    policy's `max_rows` at a time, and keeps its `cache_bytes` of earlier texts. The policy's
    weights, its guide's too, move to shared memory and stay there: what is written into them
    (training) the workers see with the next call. The rest of the policy is sent once: another
    guide, alpha or beta needs another `ProcessPolicy`. Raises: `UserError` where it is not on a
    CPU, or there are no workers.
    """

    def __init__(self, policy: LocalPolicy, num_workers: int) -> None:
        device = policy.model.model.norm.weight.device
        if device.type != "cpu":
            raise UserError(f"worker processes are for a CPU; this policy is on {device}: use one")
        if num_workers < 1:
            raise UserError(f"num_workers is {num_workers}; it must be at least 1")
        self.policy, self.num_workers = policy, num_workers
        self.positions_requested = self.positions_computed = 0
        self._workers: list[_Worker] = []
        self._shared: SharedWeights | None = None
        self._version = self._epoch = 0

    @property
    def model(self) -> LanguageModel:
        """The policy's model, whose weights the workers share."""
        return self.policy.model

    @property
    def tokenizer(self) -> Tokenizer:
        """The policy's tokenizer."""
        return self.policy.tokenizer

    @property
    def process_ids(self) -> list[int]:
        """The workers' processes, while it is open."""
        return [worker.process_id for worker in self._workers]

    def __enter__(self) -> "ProcessPolicy":
        weights = self.policy.weights()
        fresh = replace(self.policy, positions_requested=0, positions_computed=0)
        try:
            with unnamed_file() as file:
                self._shared = SharedWeights(weights, file)
                bare = self._shared.left_out(fresh, keeping=self.tokenizer)
                for number in range(self.num_workers):
                    self._workers.append(_Worker(f"{number + 1} of {self.num_workers}"))
                    self._workers[-1].begin(bare, self._shared.layout, file)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers at once."""
        for worker in self._workers:
            worker.kill()
        self._workers = []

    def forget(self) -> None:
        """Have the workers drop what they know of earlier texts (`LocalPolicy.forget`)."""
        self._epoch += 1

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        """Return completions `[r][p][i]`.

        Raises: `UserError` as `LocalPolicy.sample`, and where a worker was killed, which ends all.
        """
        if not self._workers or self._shared is None:
            raise UserError("the workers have ended, or were not started: use it by `with`")
        shares = divided(requests, self.num_workers)
        try:
            self._version += self._shared.take_in()
            busy = [pair for pair in zip(self._workers, shares, strict=True) if pair[1]]
            for worker, share in busy:
                worker.ask(_Call(self._version, self._epoch, *_asked(requests, share)))
            replies = _replies([worker for worker, _ in busy])
        except BaseException:  # an answer that nobody waits for must not answer the next call
            self.close()
            raise
        answers: list[list[list[Completion]]] = [[[] for _ in r.prefixes] for r in requests]
        for (_, share), reply in zip(busy, replies, strict=True):
            if isinstance(reply, _Failure):
                raise UserError(reply.text) if reply.is_users else RuntimeError(reply.text)
            self.positions_requested += reply.positions_requested
            self.positions_computed += reply.positions_computed
            for part, completions in zip(share, reply.completions, strict=True):
                answers[part.r][part.p] += completions
        return answers


# How work is divided


@dataclass(frozen=True, slots=True)
class Part:
    """Draws `i` to `i + n` (exclusive) of prefix `p` of request `r`."""

    r: int
    p: int
    i: int
    n: int


def divided(requests: Sequence[SampleRequest], num_workers: int) -> list[list[Part]]:
    """Return each worker's parts: all draws in the order of their texts, cut into equal shares.

    A draw counts as the tokens that it may take. Draws of one prefix are divided where a cut falls
    among them; a worker's are in their order, and a later worker's come after it.
    """
    texts = sorted(
        (prefix, r, p)
        for r, request in enumerate(requests)
        for p, prefix in enumerate(request.prefixes)
    )
    total = sum(r.n * len(r.prefixes) * r.params.max_tokens for r in requests)
    shares: list[list[Part]] = [[] for _ in range(num_workers)]
    done = 0  # of the total
    for _, r, p in texts:
        n, cost, i = requests[r].n, requests[r].params.max_tokens, 0
        while i < n:
            worker = done * num_workers // total
            left = total * (worker + 1) - done * num_workers  # of its share, times the workers
            count = min(n - i, -(-left // (cost * num_workers)))
            shares[worker].append(Part(r, p, i, count))
            i, done = i + count, done + count * cost
    return shares


def _asked(
    requests: Sequence[SampleRequest], share: Sequence[Part]
) -> tuple[list[SampleRequest], list[tuple[int, int]]]:
    """Return parts as requests of one prefix, and the numbers of their first draws."""
    parts = [
        replace(requests[part.r], prefixes=(requests[part.r].prefixes[part.p],), n=part.n)
        for part in share
    ]
    return parts, [(part.p, part.i) for part in share]


# What is said, and who says it


@dataclass(frozen=True, slots=True)
class _Call:
    """What a worker is asked: with other weights at another version, anew at another epoch."""

    version: int
    epoch: int
    requests: list[SampleRequest]
    firsts: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Reply:
    """What it drew, part by part, and what that cost."""

    completions: list[list[Completion]]
    positions_requested: int
    positions_computed: int


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why it could not: the message of a `UserError`, or the traceback of another error."""

    text: str
    is_users: bool


class _Worker:
    """A process that samples, seen from the one that starts it; `name` says which of how many."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process: SpawnProcess | None = None
        self.connection, self._theirs = get_context("spawn").Pipe()

    @property
    def process_id(self) -> int:
        """The number of its process."""
        assert self._process is not None, "it begins first"
        return int(self._process.pid or 0)

    def begin(self, policy: LocalPolicy, layout: Layout, file: int) -> None:
        """Start the process: a policy without its weights, and where they lie in a file."""
        process = get_context("spawn").Process(
            target=_work, args=(self._theirs, policy, layout), daemon=True
        )
        # Ctrl-C reaches all processes of a terminal; it is this one's to handle
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
            self._process = process
        finally:
            _ = signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        self._theirs.close()  # the pipe now ends when the process does
        with self._while_it_lives():
            reduction.send_handle(self.connection, file, self.process_id)

    def ask(self, call: _Call) -> None:
        """Send a call. Raises: `UserError` where the process is no more."""
        with self._while_it_lives():
            self.connection.send(call)

    def reply(self) -> _Reply | _Failure:
        """Return the answer to a call. Raises: `UserError` where the process is no more."""
        with self._while_it_lives():
            return self.connection.recv()

    @contextmanager
    def _while_it_lives(self) -> Generator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            assert self._process is not None, "it begins first"
            self._process.join(PATIENCE_S)
            code = self._process.exitcode
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            raise UserError(
                f"worker {self.name} (process {self.process_id}) has ended ({how}); "
                "run it again, with fewer workers if memory is short"
            ) from error

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self.connection.close()
        self._theirs.close()


def _replies(workers: Sequence[_Worker]) -> list[_Reply | _Failure]:
    """Return what each worker answers. Raises: `UserError` once one of them is no more."""
    found: dict[str, _Reply | _Failure] = {}
    waiting: dict[Any, _Worker] = {worker.connection: worker for worker in workers}
    while waiting:
        for connection in wait(list(waiting)):
            worker = waiting.pop(connection)
            found[worker.name] = worker.reply()
    return [found[worker.name] for worker in workers]


# In the worker


def _work(connection: "Connection[Any, Any]", policy: LocalPolicy, layout: Layout) -> None:
    """Answer calls for as long as the process that started this one lives."""
    end_with_parent()
    torch.set_num_threads(1)
    _ = keep_freed_memory()
    file = reduction.recv_handle(connection)
    weights = policy.weights()
    for weight, place in zip(weights, placed(file, layout), strict=True):
        weight.data = place
    os.close(file)
    version = epoch = 0
    while True:
        try:
            call: _Call = connection.recv()
        except EOFError:
            return
        if call.version != version:  # written to elsewhere: tell torch, and so the policy
            increment_version(weights)
        if call.epoch != epoch:
            policy.forget()
        version, epoch = call.version, call.epoch
        connection.send(_answer(policy, call))


def _answer(policy: LocalPolicy, call: _Call) -> _Reply | _Failure:
    """Sample what a call asks for."""
    policy.positions_requested = policy.positions_computed = 0
    try:
        drawn = policy.sample(call.requests, call.firsts)
    except UserError as error:
        return _Failure(str(error), is_users=True)
    except Exception:
        return _Failure(f"in a worker:\n{traceback.format_exc()}", is_users=False)
    completions = [only for (only,) in drawn]
    return _Reply(completions, policy.positions_requested, policy.positions_computed)
