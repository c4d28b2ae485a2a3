"""A batch of rows being decoded: one cache, one clock, one forward for all.

Place in the flow: `local` schedules rows into a session; a `Guide` may keep layers of its own
in the session's cache. A candidate is a token tried at a row's next place; several may be run
at once, and the accepted one's keys and values stay.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from system2.core import Tokens
from system2.engine.attention import Attend, side_by_side, sight, sight_until
from system2.engine.cache import Grid, Places, TrunkView
from system2.engine.graphs import ROW_BUCKETS, StaticStep
from system2.engine.prefill import Prefill
from system2.engine.prefixes import Slabs
from system2.engine.step import Layers, Once, Reader, Stack, Step, in_front
from system2.engine.unread import Stretches, Unread

DROP_AT = 8
"""Trunks without rows are dropped when they are an eighth of all."""


class Guide(Reader, Protocol):
    """What adjusts the next token's logits inside the engine's step (LLM2, contrast, ...)."""

    def adjust(
        self, session: "Session", logits: Float[Tensor, "batch vocab"]
    ) -> Float[Tensor, "batch vocab"]:
        """Return adjusted logits of every row's next token; -inf is never chosen.

        `logits` are its own, to write on.
        """
        ...

    def advance(
        self, session: "Session", rows: Int[Tensor, "next"], chosen: Int[Tensor, "next"]
    ) -> None:
        """Go on from row `rows[i]` with token `chosen[i]`, for each next row i."""
        ...


class Session:
    """Rows in a cache, what each goes on from, and how far it has come.

    Row r holds the columns `starts[r]` to the clock, after those of trunk `trunk_of[r]` (-1:
    none); its next token has position `positions[r]`. `hidden[r]` is the policy's last hidden
    state there, `own[r]` what the guide read there, but for what a lazy one has left `unread`.
    `all_rows` names the rows as they stand; `positions_computed` counts the positions run.
    """

    def __init__(self, layers: Layers) -> None:
        self.layers, guide, model = layers, layers.reader, layers.model
        self.window = model.config.sliding_window
        self.num_policy_layers = model.config.num_layers
        self.stack = Stack(layers)
        self.cache = self.stack.cache
        self.device = self.cache.own[0].device
        self.clock = 0
        nothing = torch.zeros(0, dtype=torch.long, device=self.device)
        self.starts: Tensor = nothing
        self.positions: Tensor = nothing
        self.trunk_of: Tensor = nothing
        self.trunk_lengths: Tensor = nothing
        self.hidden = self.cache.own[0].new_zeros(0, model.config.hidden_size)
        self.own: Tensor | None = None
        is_lazy = guide is not None and guide.is_lazy
        self.unread = Unread() if is_lazy else None
        is_eager = len(layers.weights) > self.num_policy_layers and not is_lazy
        has_static = layers.has_graphs and not is_eager
        self.static = StaticStep(layers, self.stack) if has_static else None
        self.positions_computed = 0
        self.all_rows: Tensor = nothing
        self._furthest = 0
        self._ahead = 0  # columns from the clock on that candidates hold
        self._seen: Tensor | None = None
        self._view: TrunkView | None = None
        self._is_view_fresh = False
        self._logits: Tensor | None = None  # those of `hidden`, where they are known

    @property
    def num_rows(self) -> int:
        """How many rows are being decoded."""
        return self.starts.shape[0]

    def admit(
        self, prompts: Sequence[Tokens], copies: Sequence[int], *, is_trunk: bool = False
    ) -> None:
        """Run prompts, each once, and append `copies[i]` rows of prompt i.

        With `is_trunk` a prompt is kept once for all its rows.
        """
        prefill = Prefill(self.layers, prompts)
        while not prefill.is_done:
            prefill.advance(1 << 20)
        rows = [i for i, count in enumerate(copies) for _ in range(count)]
        self.join(prefill, rows, [is_trunk] * len(prompts))

    def join(self, done: Prefill, rows: Sequence[int], is_trunk: Sequence[bool]) -> None:
        """Append rows, row i of prompt `rows[i]`; prompts of which `is_trunk` are kept once."""
        trunks = [p for p, kept in enumerate(is_trunk) if kept]
        width = max((len(done.prompts[p]) for p in rows if not is_trunk[p]), default=0)
        if self.num_rows == 0:
            self.clock = width
        elif width > self.clock:
            self._shift(width - self.clock)
        old = self.num_rows
        self.cache.num_rows = old + len(rows)
        self.cache.reserve(self.cache.num_rows, self.clock + 1)
        of = torch.tensor(rows, device=self.device)
        if width:
            for slab, new in zip(self.cache.own, done.cache.own, strict=True):
                source = new[:, :, of, :, done.width - width : done.width]
                slab[:, :, old : old + len(rows), :, self.clock - width : self.clock] = source
        number = {p: i + self.trunk_lengths.shape[0] for i, p in enumerate(trunks)}
        if trunks:
            kept = torch.tensor(trunks, device=self.device)
            self.cache.add_trunks([x[:, :, kept, :, : done.width] for x in done.cache.own])
        lengths = torch.tensor([len(prompt) for prompt in done.prompts], device=self.device)
        trunked = torch.tensor([number.get(p, -1) for p in rows], device=self.device)
        starts = torch.where(trunked < 0, self.clock - lengths[of], self.clock)
        self.starts = torch.cat((self.starts, starts))
        self.all_rows = torch.arange(old + len(rows), device=self.device)
        self.positions = torch.cat((self.positions, lengths[of]))
        if self.unread is not None:
            self.unread.join(len(rows))
        self.trunk_of = torch.cat((self.trunk_of, trunked))
        self.trunk_lengths = torch.cat((self.trunk_lengths, lengths[trunks]))
        self.hidden, self._logits = torch.cat((self.hidden, done.hidden[of])), None
        if done.own is not None:
            own = done.own[of]
            self.own = own if self.own is None or not old else torch.cat((self.own, own))
        self._furthest = max(self._furthest if old else 0, *map(len, done.prompts))
        self.positions_computed += done.num_computed
        self._is_view_fresh = False

    def take(self, rows: Int[Tensor, "row"]) -> None:
        """Go on with the given rows, in that order, a row as often as it is named.

        What stays in its place costs nothing (`all_rows`: nothing at all). Trunks without a
        row are dropped once they are an eighth of all: dropping copies the others.
        """
        if rows is self.all_rows:
            return
        self.cache.take(rows, self.clock + self._ahead)
        self.starts, self.positions = self.starts[rows], self.positions[rows]
        if self.unread is not None:
            self.unread.take(rows)
        self.hidden, self.trunk_of = self.hidden[rows], self.trunk_of[rows]
        self._logits = None
        self.all_rows = torch.arange(rows.shape[0], device=self.device)
        if self.own is not None:
            self.own = self.own[rows]
        self._is_view_fresh = False
        self._drop_trunks()
        first = int(self.starts.min()) if self.num_rows else 0
        if 2 * first >= max(self.clock, 128):
            self._shift(-first)

    def _drop_trunks(self) -> None:
        count = self.trunk_lengths.shape[0]
        if not count:
            return
        named = self.trunk_of[self.trunk_of >= 0]
        is_used = torch.bincount(named, minlength=count) > 0
        used = is_used.nonzero()[:, 0]
        if (count - used.shape[0]) * DROP_AT > count:
            number = torch.cat(
                (is_used.cumsum(0) - 1, is_used.new_full((1,), -1, dtype=torch.long))
            )
            self.trunk_of = number[self.trunk_of]  # -1, none, names the last
            self.cache.take_trunks(used)
            self.trunk_lengths = self.trunk_lengths[used]

    def _shift(self, columns: int) -> None:
        self.cache.shift(columns, self.clock + self._ahead)
        self.clock += columns
        self.starts = self.starts + columns
        self._is_view_fresh = False

    def clear(self) -> None:
        """Drop all rows."""
        self.take(torch.zeros(0, dtype=torch.long, device=self.device))

    def text_of(self, row: int) -> tuple[Slabs, int]:
        """Return the keys and values of what a row holds in columns of its own.

        And how many of the last columns are left out, since they are not read yet.
        """
        start = int(self.starts[row])
        unread = int(self.unread.counts[row]) if self.unread is not None else 0
        end = max(start, self.clock - unread)
        return [slab[:, :, row, :, start:end] for slab in self.cache.own], self.clock - end

    def logits(self) -> Float[Tensor, "row vocab"]:
        """Return the policy's scores of every row's next token, to be written on: ask once."""
        known, self._logits = self._logits, None
        return self.layers.logits(self.hidden) if known is None else known

    def run(
        self, tokens: Int[Tensor, "token"], step: Step
    ) -> tuple[Float[Tensor, "token size"], Shaped[Tensor, "token *rest"], Tensor | None]:
        """Run tokens through the policy; return its states, the guide's input, what it read."""
        return self.layers.forward(tokens, step, is_read=self.unread is None)

    def read(self, is_asked: NDArray[np.bool_]) -> Float[Tensor, "row own"]:
        """Have a lazy guide read what it has not read of the rows asked for; return `own`."""
        guide, unread = self._lazy_guide()
        what = unread.of(is_asked)
        if what is not None:
            step = self._stretch_step(what).of(slice(self.num_policy_layers, None))
            own = guide.read(unread.read(what), step)
            assert own is not None, "a lazy guide has states of its own"
            if self.own is None:
                self.own = own.new_zeros(self.num_rows, *own.shape[1:])
            rows, lasts = self._tensors(what.of, what.lasts)
            _ = self.own.index_copy_(0, rows, own.index_select(0, lasts))
        assert self.own is not None, "prompts are read as they are run"
        return self.own

    def read_candidates(
        self, is_asked: NDArray[np.bool_], given: Shaped[Tensor, "candidate *rest"], step: Step
    ) -> Float[Tensor, "candidate own"]:
        """Have a lazy guide read what it has not of the rows asked for, then their candidates.

        `step` is the candidates' (`candidate_step`), `own` stays as it was.
        """
        guide, unread = self._lazy_guide()
        what, number = unread.of(is_asked), given.shape[0]
        if what is not None:
            step = in_front(self._stretch_step(what), step)
            given = torch.cat((unread.read(what), given))
        own = guide.read(given, step.of(slice(self.num_policy_layers, None)))
        assert own is not None, "a lazy guide has states of its own"
        return own[own.shape[0] - number :]

    def _lazy_guide(self) -> tuple[Reader, Unread]:
        guide, unread = self.layers.reader, self.unread
        assert guide is not None, "there is a guide to read"
        assert unread is not None, "it is lazy"
        return guide, unread

    def _step(
        self, positions: Tensor, places: Callable[[], Places], attends: Callable[[], list[Attend]]
    ) -> Step:
        table = self.layers.turns(self._furthest + 1)
        return Step(positions, table, self.stack, Once(places), Once(attends))

    def _places(self, rows: Tensor, positions: Tensor, columns: Tensor, ends: Tensor) -> Places:
        """Return where tokens stand that see their row up to `ends` (exclusive), and themselves."""
        firsts = self.starts if rows is self.all_rows else self.starts[rows]
        window = self.window
        if window is not None:
            firsts = torch.maximum(firsts, ends - window + 1)
        if not self.trunk_lengths.shape[0]:
            return Places(rows, columns, firsts, ends)
        trunks = self.trunk_of[rows]
        unused = self.cache.trunks[0].shape[4] - self.trunk_lengths[trunks]
        seen = unused
        if window is not None:
            seen = unused + (positions - window + 1).clamp(min=0)
        seen = seen.clamp(max=self.cache.trunks[0].shape[4])
        return Places(rows, columns, firsts, ends, trunks, seen)

    def _tensors(self, *arrays: NDArray[np.int64]) -> list[Tensor]:
        return [torch.from_numpy(array).to(self.device) for array in arrays]

    def _stretch_step(self, what: Stretches) -> Step:
        """Return where the last tokens of some rows stand."""
        ends = self.positions.cpu().numpy()[what.rows]
        rows, columns, positions = self._tensors(
            what.rows, self.clock - what.back, ends - what.back
        )

        def attends() -> list[Attend]:
            of, counts, back = self._tensors(what.of, what.counts, what.back)
            size = int(what.counts.max())
            row = torch.searchsorted(of, rows)
            rank, ranks = counts[row] - back, torch.arange(size, device=self.device)
            ends = torch.where(ranks < counts[:, None], self.clock - counts[:, None] + ranks, -1)
            seen = self._seen_until(ends, self.starts[of])
            view = self._trunk_view(self.trunk_of[rows], positions)
            return self.cache.grid_attends(Grid(of, row, columns, rank, size, seen), view)

        def places() -> Places:
            needed = torch.zeros(rows.shape, dtype=torch.bool)
            needed[torch.from_numpy(what.lasts)] = True
            return replace(self._places(rows, positions, columns, columns), needed=needed)

        return self._step(positions, places, attends)

    def next_step(self) -> Step:
        """Return where one more token of every row stands."""
        self.cache.reserve(self.num_rows, self.clock + 1)
        self._ahead = 1
        columns = torch.full_like(self.all_rows, self.clock)
        return self._step(
            self.positions,
            partial(self._places, self.all_rows, self.positions, columns, columns),
            lambda: self.cache.row_attends(self.clock, *self._sights()),
        )

    def _sights(self) -> tuple[Tensor | None, TrunkView | None]:
        """Return what a token of each row sees at the clock, of its row and of its trunk."""
        self._refresh()
        if self.window is not None:
            ends = self.all_rows.new_full((self.num_rows, 1), self.clock)
            view = self._trunk_view(self.trunk_of, self.positions)
            return self._seen_until(ends, self.starts), view
        return None if self._seen is None else self._seen[:, :, : self.clock + 1], self._view

    def _refresh(self) -> None:
        """Work out again what rows see, where rows or columns have changed."""
        is_wide = self._seen is None or self._seen.shape[2] > self.clock
        if self._is_view_fresh and is_wide:
            return
        columns = torch.arange(self.cache.num_columns, device=self.device)
        self._seen = None
        if bool((self.starts > 0).any()):
            self._seen = sight(columns >= self.starts[:, None, None], self.hidden.dtype)
        self._view = self._trunk_view(self.trunk_of, self.positions)
        self._is_view_fresh = True

    def _seen_until(
        self, ends: Int[Tensor, "row entry"], starts: Int[Tensor, "row"]
    ) -> Float[Tensor, "row entry column"]:
        """Return what tokens see that stand at columns `ends` (-1: there is none)."""
        width = max(self.clock, int(ends.max()) + 1)
        window = self.window
        return sight_until(ends, starts, width, window, self.hidden.dtype)

    def candidate_step(
        self,
        rows: Int[Tensor, "candidate"],
        ranks: Int[Tensor, "candidate"],
        size: int,
        *,
        num_first: int = 0,
    ) -> Step:
        """Return where candidates stand: number `ranks[n]` of its row, for the row's next place.

        A candidate sees its row's past and itself, not its rivals; a row has at most `size`.
        The first `num_first` (none, or as many as there are rows) are number 0 of each row.
        """
        self.cache.reserve(self.num_rows, self.clock + size)
        self._ahead = size
        positions, columns = self.positions[rows], self.clock + ranks
        ends = torch.full_like(rows, self.clock)

        def attends() -> list[Attend]:
            others = slice(num_first, None)
            found = self._rivals_attend(rows[others], ranks[others], size, positions[others])
            if not num_first:
                return found
            firsts = self.cache.row_attends(self.clock, *self._sights())
            return [side_by_side(num_first, *pair) for pair in zip(firsts, found, strict=True)]

        places = partial(self._places, rows, positions, columns, ends)
        return self._step(positions, places, attends)

    def _rivals_attend(
        self, rows: Tensor, ranks: Tensor, size: int, positions: Tensor
    ) -> list[Attend]:
        """Return what each layer attends with where rows have several candidates for a place."""
        of = (torch.bincount(rows, minlength=self.num_rows) > 0).nonzero()[:, 0]
        row = torch.searchsorted(of, rows)
        columns = torch.arange(self.clock + size, device=self.device)
        first = self.starts[of]
        if self.window is not None:
            first = first.clamp(min=self.clock - self.window + 1)
        past = (columns < self.clock) & (columns >= first[:, None, None])
        itself = columns == self.clock + torch.arange(size, device=self.device)[:, None]
        grid = Grid(
            of, row, self.clock + ranks, ranks, size, sight(past | itself, self.hidden.dtype)
        )
        return self.cache.grid_attends(grid, self._trunk_view(self.trunk_of[rows], positions))

    def _trunk_view(
        self, trunk_of: Int[Tensor, "token"], positions: Int[Tensor, "token"]
    ) -> TrunkView | None:
        """Return how a forward's tokens see the trunks; None where none has one."""
        count = self.trunk_lengths.shape[0]
        entries = (trunk_of >= 0).nonzero()[:, 0]
        if not count or not entries.shape[0]:
            return None
        trunk = trunk_of[entries]
        counts = torch.bincount(trunk, minlength=count)
        order, rank = trunk.argsort(stable=True), torch.empty_like(trunk)
        starts = counts.cumsum(0) - counts
        rank[order] = torch.arange(trunk.shape[0], device=self.device) - starts[trunk[order]]
        width = int(self.cache.trunks[0].shape[4])
        places = torch.arange(width, device=self.device)
        seen = places >= width - self.trunk_lengths[:, None, None]
        size, window = int(counts.max()), self.window
        if window is not None:  # place p of a trunk has position p - (width - length)
            queries = torch.zeros(count, size, dtype=torch.long, device=self.device)
            queries[trunk, rank] = positions[entries]
            near = places - (width - self.trunk_lengths)[:, None, None]
            seen = seen & (near > queries[..., None] - window)
        return TrunkView(entries, trunk, rank, size, sight(seen, self.hidden.dtype))

    def append(self, chosen: Int[Tensor, "row"], is_read: NDArray[np.bool_] | None = None) -> None:
        """Run one token of every row and go on from it.

        Rows of which `is_read` are read by the guide already.
        """
        self.positions_computed += self.num_rows
        if self.static is not None and self._is_plain():
            hidden, given, logits = self.static.run(chosen, self.starts, self.clock)
            self.go_on(hidden, given, is_read)
            self._logits = logits
            return
        hidden, given, own = self.run(chosen, self.next_step())
        self.own = own if own is not None else self.own
        self.go_on(hidden, given, is_read)

    def _is_plain(self) -> bool:
        """Whether a static step can run the rows: not too many, none of them with a trunk."""
        return not self.trunk_lengths.shape[0] and self.num_rows <= ROW_BUCKETS[-1]

    def go_on(
        self,
        hidden: Float[Tensor, "row size"],
        given: Shaped[Tensor, "row *rest"],
        is_read: NDArray[np.bool_] | None,
    ) -> None:
        """Move the clock on over tokens that were run, and note what is still to read."""
        self.hidden, self._logits = hidden, None
        if self.unread is not None:
            self.unread.add(given, is_read)
        self.clock, self._ahead = self.clock + 1, 0
        self.positions = self.positions + 1
        self._furthest += 1

    def extend(self, rows: Int[Tensor, "next"], chosen: Int[Tensor, "next"]) -> None:
        """Go on from row `rows[i]` with token `chosen[i]`, run through policy and guide."""
        self.take(rows)
        self.append(chosen)

    def accept(self, ranks: Int[Tensor, "row"], *, is_policy: bool) -> None:
        """Move the keys of each row's candidate number `ranks[r]` to the clock.

        Those of the guide's layers, and with `is_policy` those of the policy's.
        """
        first = 0 if is_policy else self.num_policy_layers
        self.cache.move(self.clock + ranks, self.clock, first_layer=first)
