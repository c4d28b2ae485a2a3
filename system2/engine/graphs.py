"""One more token of every row over buffers that stay in place: what a GPU replays as one graph.

Place in the flow: `session` steps through a `StaticStep` where its layers ask for graphs (on a
GPU, unless told otherwise) and no row has a trunk; `step` runs the layers, over the session's
own cache. Rows are rounded up to a bucket and columns to a multiple of `COLUMNS`. What a row
sees is worked out on the device from its start and the clock, so that no shape depends on data
and nothing waits for the host: a step of a few hundred kernels is then one call. Off a GPU the
same step is simply called. Compare nano-vllm's `capture_cudagraph`, whose rows follow a table of
pages: ours share a clock, and a column is all that a step writes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from system2.engine.attention import Attend, attend_keys, sight_until
from system2.engine.native import linear
from system2.engine.step import Layers, Once, Stack, Step

ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256)
"""Numbers of rows that there are graphs for."""
COLUMNS = 256
"""A graph looks at a multiple of so many columns."""
WARM_UPS = 3
"""Times a step is run before it is captured: libraries make what they need, kernels are chosen."""


@dataclass(frozen=True, slots=True)
class Buffers:
    """What a step reads and writes; anything may stand in rows that nobody decodes."""

    tokens: Int[Tensor, "row"]
    starts: Int[Tensor, "row"]
    clock: Int[Tensor, "1"]
    hidden: Float[Tensor, "row size"]
    given: Float[Tensor, "row size"]
    logits: Float[Tensor, "row vocab"]


def new_buffers(layers: Layers, rows: int) -> Buffers:
    """Return zeros for a policy's steps of at most so many rows."""
    config, like = layers.model.config, layers.weights[0].qkv.detach()
    tokens = torch.zeros(rows, dtype=torch.long, device=like.device)
    hidden = like.new_zeros(rows, config.hidden_size)
    return Buffers(
        tokens=tokens,
        starts=torch.zeros_like(tokens),
        clock=tokens.new_zeros(1),
        hidden=hidden,
        given=torch.zeros_like(hidden),
        logits=like.new_zeros(rows, config.vocab_size, dtype=torch.float32),
    )


class StaticStep:
    """The next token of every row of a stack without trunks, bucket by bucket.

    A bucket's step is made when it is first called for (on a GPU: captured); all are dropped when
    the cache or the table of rotary turns has moved.
    """

    def __init__(self, layers: Layers, stack: Stack) -> None:
        self.layers, self.stack = layers, stack
        self._slabs: list[Tensor] = stack.cache.own
        self._table: tuple[Tensor, Tensor] = layers.turns(0)
        self._buffers = new_buffers(layers, ROW_BUCKETS[-1])
        self._starts: Tensor | None = None
        self._steps: dict[tuple[int, int], Callable[[], None]] = {}
        self._pool: Any = None  # torch's name for its type is no public one

    @property
    def num_steps(self) -> int:
        """How many buckets have a step at present."""
        return len(self._steps)

    def run(
        self,
        chosen: Int[Tensor, "row"],
        starts: Int[Tensor, "row"],
        clock: int,
    ) -> tuple[Float[Tensor, "row size"], Shaped[Tensor, "row *rest"], Float[Tensor, "row vocab"]]:
        """Run token `chosen[r]` of row r, whose text begins at column `starts[r]`, at the clock.

        Returns the policy's normed last states, the reader's input and the logits; those hold
        until the next run, and `starts` may not be written on. At most `ROW_BUCKETS[-1]` rows.
        """
        count = chosen.shape[0]
        rows = next(bucket for bucket in ROW_BUCKETS if bucket >= count)
        columns = (clock // COLUMNS + 1) * COLUMNS
        self.stack.cache.reserve(rows, columns)
        self._bind(self.layers.turns(clock + 1))
        at, reader = self._buffers, self.layers.reader
        if starts is not self._starts:
            _ = at.starts[:count].copy_(starts)
            self._starts = starts
        _ = at.tokens[:count].copy_(chosen)
        _ = at.clock.fill_(clock)
        if (rows, columns) not in self._steps:
            self._steps[rows, columns] = self._made(rows, columns)
        self._steps[rows, columns]()
        is_tapped = reader is not None and reader.tap > 0
        return at.hidden[:count], at.given[:count] if is_tapped else chosen, at.logits[:count]

    def _bind(self, table: tuple[Tensor, Tensor]) -> None:
        """Drop the steps where what they read or write has moved."""
        slabs = self.stack.cache.own
        if slabs is not self._slabs or table is not self._table:
            self._steps.clear()
            self._slabs, self._table, self._pool = slabs, table, None

    def _made(self, rows: int, columns: int) -> Callable[[], None]:
        """Return the step of a bucket, captured where the device is a GPU."""
        step = partial(self._step, rows, self._attends(rows, columns), columns)
        device = self._buffers.clock.device
        if device.type != "cuda":
            return step
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        return captured(step, device, self._pool)

    def _attends(self, rows: int, columns: int) -> list[Callable[..., Tensor]]:
        """Return what each layer attends with, but for the clock and what rows see."""
        found: list[Callable[..., Tensor]] = []
        for slab in self._slabs:
            for pair in slab[:, :, :rows, :, :columns].unbind():
                found.append(partial(_attend_at, *pair.unbind()))
        return found

    def _step(self, rows: int, attends: list[Callable[..., Tensor]], columns: int) -> None:
        """Run the buffers' first rows."""
        at, layers = self._buffers, self.layers
        firsts = torch.minimum(at.starts[:rows], at.clock)  # a row nobody decodes sees itself
        ends, window = at.clock.expand(rows, 1), layers.model.config.sliding_window
        seen = sight_until(ends, firsts, columns, window, at.hidden.dtype)
        found: list[Attend] = [partial(attend, at.clock, seen) for attend in attends]
        positions = at.clock - firsts
        step = Step(positions, self._table, self.stack, Once(_no_places), Once(lambda: found))
        hidden, given, _ = layers.forward(at.tokens[:rows], step, is_read=False)
        _ = at.hidden[:rows].copy_(hidden)
        _ = at.logits[:rows].copy_(linear(hidden, layers.model.lm_head.weight))
        if given.is_floating_point():
            _ = at.given[:rows].copy_(given)


def _no_places() -> NoReturn:
    raise AssertionError("torch runs the layers: it asks for what they attend with")


def _attend_at(
    keys: Float[Tensor, "row kv column dim"],
    values: Float[Tensor, "row kv column dim"],
    clock: Int[Tensor, "1"],
    seen: Float[Tensor, "row 1 column"],
    query: Float[Tensor, "row head dim"],
    key: Float[Tensor, "row kv dim"],
    value: Float[Tensor, "row kv dim"],
) -> Float[Tensor, "row head dim"]:
    """One token a row: write it at the clock, which the device knows; it sees its row."""
    _ = keys.index_copy_(2, clock, key[:, :, None])
    _ = values.index_copy_(2, clock, value[:, :, None])
    return attend_keys(query[:, None], keys, values, seen)[:, 0]


def captured(step: Callable[[], None], device: torch.device, pool: Any) -> Callable[[], None]:
    """Return what replays a step as one CUDA graph; the step itself is run on the way.

    As torch's notes on CUDA graphs say: warmed up on a side stream, then captured. Graphs of one
    `pool` use the same memory for what lies between their kernels: no two may run at once.
    """
    with torch.cuda.device(device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            step()
    return graph.replay
