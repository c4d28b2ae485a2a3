"""Where keys and values are kept while decoding, and who sees which of them.

Place in the flow: `session` owns one `Cache` a batch; `model` hands queries, keys and values to
its `Attend`s. Rows share a clock: whatever a row's length, its next token stands in column
`clock` and its text in the columns before, so that a step writes one column for all. The
beginning that many rows go on from is kept once, as a trunk, and attended to by all of them in
one product (cascade attention: Hydragen, arXiv 2402.05099; FlashInfer, arXiv 2501.01005).
Columns from the clock on may hold anything (candidates that were not chosen): they are written
before they are seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from system2.engine.attention import Attend, Partial, attend_keys, attend_partly, joined

COLUMNS_AT_ONCE = 64
"""Rows get room for new columns in steps of this many."""


@dataclass(frozen=True, slots=True)
class TrunkView:
    """Which of a forward's tokens go on from a trunk.

    Token `entries[i]` goes on from trunk `trunk[i]`, and is number `rank[i]` of its at most
    `size` tokens; `seen[g, m, place]` is 0 where token m of trunk g sees a place of the
    trunk, else -inf (a middle axis of 1 stands for every token).
    """

    entries: Int[Tensor, "trunked"]
    trunk: Int[Tensor, "trunked"]
    rank: Int[Tensor, "trunked"]
    size: int
    seen: Float[Tensor, "trunk entry place"]

    def gather(self, x: Float[Tensor, "token *rest"]) -> Float[Tensor, "trunk entry *rest"]:
        """Return tokens in a grid of trunks, zeros where a trunk has fewer."""
        shape = (self.seen.shape[0], self.size)
        return _in_grid(x[self.entries], self.trunk, self.rank, shape)


@dataclass(frozen=True, slots=True)
class Grid:
    """Several tokens a row at once: candidates for a place, or a stretch of its text.

    Grid row g is row `of[g]` of the cache. Token n stands in grid row `rows[n]` at column
    `columns[n]`, number `rank[n]` of its row's at most `size` tokens; `seen[g, m, column]` is 0
    where token m of row g sees a column, else -inf.
    """

    of: Int[Tensor, "row"]
    rows: Int[Tensor, "token"]
    columns: Int[Tensor, "token"]
    rank: Int[Tensor, "token"]
    size: int
    seen: Float[Tensor, "row token column"]

    def spread(self, x: Float[Tensor, "token *rest"]) -> Float[Tensor, "row entry *rest"]:
        """Return tokens in a grid of rows, zeros where a row has fewer."""
        return _in_grid(x, self.rows, self.rank, (self.seen.shape[0], self.size))


def _in_grid(x: Tensor, rows: Tensor, rank: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return tokens in a grid, zeros where a row has fewer than others."""
    grid = x.new_zeros(*shape, *x.shape[1:])
    grid[rows, rank] = x
    return grid


def _out_of_grid(parts: Partial, size: int, rows: Tensor, rank: Tensor) -> Partial:
    """Return the tokens' part of attention over a grid whose rows hold `size` tokens each."""
    count, kv_heads = parts[0].shape[:2]
    first, second, third = (
        x.view(count, kv_heads, size, -1, x.shape[-1]).transpose(1, 2)[rows, rank] for x in parts
    )
    return first, second, third


@dataclass(frozen=True, slots=True)
class Places:
    """Where tokens stand and what they see, token by token: what needs no mask.

    Token n stands at column `columns[n]` of row `rows[n]`, and sees itself, the columns
    `firsts[n]` to `ends[n]` (exclusive), and the places of trunk `trunks[n]` (-1: none) from
    `trunk_firsts[n]` on. Those whose last states are `needed` are named where not all are.
    """

    rows: Int[Tensor, "token"]
    columns: Int[Tensor, "token"]
    firsts: Int[Tensor, "token"]
    ends: Int[Tensor, "token"]
    trunks: Int[Tensor, "token"] | None = None
    trunk_firsts: Int[Tensor, "token"] | None = None
    needed: Bool[Tensor, "token"] | None = None

    def fields(self) -> list[Tensor]:
        """Return what there is of places, in their order."""
        own = [self.rows, self.columns, self.firsts, self.ends]
        if self.trunks is None or self.trunk_firsts is None:
            return own
        return [*own, self.trunks, self.trunk_firsts]


class Cache:
    """Keys and values of rows, and of the trunks that they go on from, for a list of layers.

    The layers may belong to several models (a policy's, then its verifier's): rows are taken
    and joined for all of them at once. `shapes[l]` is layer l's number of key heads and their
    size; neighbours of one shape share a slab `[layer 2 row kv column dim]`, keys then values.
    """

    def __init__(
        self, shapes: Sequence[tuple[int, int]], *, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.num_rows = 0
        runs = [(shape, len(list(same))) for shape, same in groupby(shapes)]
        self.own: list[Tensor] = [
            torch.zeros(layers, 2, 0, heads, 0, dim, dtype=dtype, device=device)
            for (heads, dim), layers in runs
        ]
        self.trunks: list[Tensor] = list(self.own)

    @property
    def num_columns(self) -> int:
        """How many columns each row has room for."""
        return self.own[0].shape[4]

    def reserve(self, rows: int, columns: int) -> None:
        """Make room for so many rows and columns; for more than asked for where it grows.

        But for the rows off a CPU: memory is dear there, and steps round them up.
        """
        have_rows, have_columns = self.own[0].shape[2], self.num_columns
        more_columns = max(0, columns - have_columns)
        if more_columns:
            more_columns = -(-more_columns // COLUMNS_AT_ONCE) * COLUMNS_AT_ONCE
        more_rows = max(0, rows - have_rows)
        if more_rows and have_rows and self.own[0].device.type == "cpu":
            more_rows += rows
        if more_columns or more_rows:
            pad = (0, 0, 0, more_columns, 0, 0, 0, more_rows)
            self.own = [functional.pad(slab, pad) for slab in self.own]

    def shift(self, columns: int, clock: int) -> None:
        """Move what stands before the clock to the right; to the left where negative."""
        self.reserve(self.num_rows, clock + columns)
        for slab in self.own:
            first = max(0, -columns)
            moved = slab[..., : self.num_rows, :, first:clock, :].clone()
            slab[..., : self.num_rows, :, first + columns : clock + columns, :] = moved

    def take(self, rows: Int[Tensor, "row"], clock: int) -> None:
        """Keep the given rows, in that order, a row as often as it is named.

        What stays in its place costs nothing.
        """
        self.num_rows = rows.shape[0]
        moved = (rows != torch.arange(self.num_rows, device=rows.device)).nonzero()[:, 0]
        if not moved.shape[0]:
            return
        self.reserve(self.num_rows, 0)
        sources = rows[moved]
        for slab in self.own:
            slab[:, :, moved, :, :clock] = slab[:, :, sources, :, :clock]

    def take_trunks(self, trunks: Int[Tensor, "trunk"]) -> None:
        """Keep the given trunks, in that order."""
        self.trunks = [slab.index_select(2, trunks) for slab in self.trunks]

    def add_trunks(self, slabs: Sequence[Float[Tensor, "layer two trunk kv place dim"]]) -> None:
        """Append trunks; texts end at the last place."""
        places = max(self.trunks[0].shape[4], slabs[0].shape[4])
        self.trunks = [
            torch.cat([functional.pad(x, (0, 0, places - x.shape[4], 0)) for x in pair], dim=2)
            for pair in zip(self.trunks, slabs, strict=True)
        ]

    def move(self, source: Int[Tensor, "row"], target: int, *, first_layer: int = 0) -> None:
        """Copy, in each row r, column `source[r]` onto column `target` (a chosen candidate)."""
        rows = (source != target).nonzero()[:, 0]
        if not rows.shape[0]:
            return
        to = torch.full_like(rows, target)
        for slab in self.own:
            layers = slab[min(first_layer, slab.shape[0]) :]
            first_layer = max(0, first_layer - slab.shape[0])
            layers[:, :, rows, :, to] = layers[:, :, rows, :, source[rows]]

    def row_attends(
        self, clock: int, seen: Float[Tensor, "row 1 column"] | None, trunks: TrunkView | None
    ) -> list[Attend]:
        """Return what each layer attends with where every row has one token, at the clock."""
        found: list[Attend] = []
        for slab, kept in zip(self.own, self.trunks, strict=True):
            held = slab[:, :, : self.num_rows, :, : clock + 1]
            column = slab[:, :, : self.num_rows, :, clock]
            for pair, places, kept_pair in zip(
                held.unbind(), column.unbind(), kept.unbind(), strict=True
            ):
                at = (*pair.unbind(), *places.unbind())
                found.append(partial(_attend_rows, *at, kept_pair, seen, trunks))
        return found

    def grid_attends(self, grid: Grid, trunks: TrunkView | None = None) -> list[Attend]:
        """Return what each layer attends with where some rows have several tokens at once."""
        columns, found = grid.seen.shape[-1], list[Attend]()
        for slab, kept in zip(self.own, self.trunks, strict=True):
            held = slab[..., :columns, :]
            for pair, kept_pair in zip(held.unbind(), kept.unbind(), strict=True):
                found.append(partial(_attend_grid, *pair.unbind(), kept_pair, grid, trunks))
        return found


def _attend_rows(
    keys: Float[Tensor, "row kv column dim"],
    values: Float[Tensor, "row kv column dim"],
    key_now: Float[Tensor, "row kv dim"],
    value_now: Float[Tensor, "row kv dim"],
    kept: Float[Tensor, "two trunk kv place dim"],
    seen: Float[Tensor, "row 1 column"] | None,
    trunks: TrunkView | None,
    query: Float[Tensor, "row head dim"],
    key: Float[Tensor, "row kv dim"],
    value: Float[Tensor, "row kv dim"],
) -> Float[Tensor, "row head dim"]:
    """One token a row: write it at the clock; it sees its row, and its trunk if any."""
    _ = key_now.copy_(key)
    _ = value_now.copy_(value)
    if trunks is None:
        return attend_keys(query[:, None], keys, values, seen)[:, 0]
    rows, heads, dim = query.shape
    folded = query.reshape(rows, key.shape[1], heads // key.shape[1], dim)
    sight = keys.new_zeros(1, 1, 1, 1) if seen is None else seen[:, None]
    own = attend_partly(folded, keys, values, sight)
    return _with_trunks(folded, own, kept, trunks).reshape(rows, heads, dim)


def _attend_grid(
    keys: Float[Tensor, "row kv column dim"],
    values: Float[Tensor, "row kv column dim"],
    kept: Float[Tensor, "two trunk kv place dim"],
    grid: Grid,
    trunks: TrunkView | None,
    query: Float[Tensor, "token head dim"],
    key: Float[Tensor, "token kv dim"],
    value: Float[Tensor, "token kv dim"],
) -> Float[Tensor, "token head dim"]:
    """Several tokens a row: write each at its column; it sees what the grid says."""
    rows = grid.of[grid.rows]
    keys[rows, :, grid.columns] = key
    values[rows, :, grid.columns] = value
    keys, values, spread = keys[grid.of], values[grid.of], grid.spread(query)
    if trunks is None:
        return attend_keys(spread, keys, values, grid.seen)[grid.rows, grid.rank]
    (tokens, heads, dim), kv_heads = query.shape, key.shape[1]
    count, group = spread.shape[0], heads // kv_heads
    folded = spread.view(count, grid.size, kv_heads, group, dim).transpose(1, 2)
    seen = grid.seen[:, None].repeat_interleave(group, dim=2)
    parts = attend_partly(folded.reshape(count, kv_heads, -1, dim), keys, values, seen)
    own = _out_of_grid(parts, grid.size, grid.rows, grid.rank)
    joint = _with_trunks(query.reshape(tokens, kv_heads, group, dim), own, kept, trunks)
    return joint.reshape(tokens, heads, dim)


def _with_trunks(
    query: Float[Tensor, "token kv group dim"],
    own: Partial,
    kept: Float[Tensor, "two trunk kv place dim"],
    view: TrunkView,
) -> Float[Tensor, "token kv group dim"]:
    """Return attention over a token's own keys and its trunk's.

    The tokens of one trunk attend to its keys in one product, so those are read once and not
    once a token.
    """
    trunks, size, (_, kv_heads, group, dim) = view.seen.shape[0], view.size, query.shape
    grid = view.gather(query).transpose(1, 2).reshape(trunks, kv_heads, size * group, dim)
    seen = view.seen[:, None]
    if seen.shape[2] > 1:
        seen = seen.repeat_interleave(group, dim=2)
    parts = attend_partly(grid, kept[0], kept[1], seen)
    shared = _out_of_grid(parts, size, view.trunk, view.rank)
    if view.entries.shape[0] == query.shape[0]:
        return joined(own, shared).to(query.dtype)
    out = (own[0] / own[1]).to(query.dtype)
    some = (own[0][view.entries], own[1][view.entries], own[2][view.entries])
    out[view.entries] = joined(some, shared).to(query.dtype)
    return out
