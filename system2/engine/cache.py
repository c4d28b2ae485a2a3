"""Where keys and values are kept while decoding, and which of them a token sees.

Place in the flow: `session` owns one `Cache` a batch and makes a `Window` a forward; `model`
writes and reads through them. A row's slot number is its position, so rows of any length live
side by side without left padding, and what stands beyond a row's length may be anything
(padding of a prompt, candidates that were not chosen): it is overwritten before it is seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Window:
    """Where the tokens of one forward stand and what they see.

    `mask[b, t, key]` is True where a query sees a key; without a cache the keys are the
    tokens themselves, with one they are the slots of the cache's row `rows[b]` (None: row b),
    and `slots` says where the tokens' own keys are written. Several batch entries may share
    a row: candidates for one place, each in a slot of its own.
    """

    positions: Int[Tensor, "batch time"]
    mask: Bool[Tensor, "batch time key"]
    slots: Int[Tensor, "batch time"] | None = None
    rows: Int[Tensor, "batch"] | None = None


@dataclass(slots=True)
class LayerCache:
    """Keys and values of one layer."""

    key: Float[Tensor, "row slot kv dim"]
    value: Float[Tensor, "row slot kv dim"]

    def write(
        self,
        window: Window,
        key: Float[Tensor, "batch time kv dim"],
        value: Float[Tensor, "batch time kv dim"],
    ) -> tuple[Float[Tensor, "batch key kv dim"], Float[Tensor, "batch key kv dim"]]:
        """Store the new keys and values; return all that the window's mask runs over."""
        assert window.slots is not None, "a cache needs a window with slots"
        num_keys = window.mask.shape[-1]
        rows = window.rows
        if rows is None:
            rows = torch.arange(window.slots.shape[0], device=window.slots.device)
            index = (rows[:, None], window.slots)
            self.key[index], self.value[index] = key, value
            return self.key[:, :num_keys], self.value[:, :num_keys]
        index = (rows[:, None], window.slots)
        self.key[index], self.value[index] = key, value
        return (
            self.key[:, :num_keys].index_select(0, rows),
            self.value[:, :num_keys].index_select(0, rows),
        )


class Cache:
    """Keys and values of a batch of rows for a list of layers.

    The layers may belong to several models (a policy's, then its verifier's): rows are
    taken, joined and accepted for all of them at once. `shapes[l]` is layer l's number of
    key heads and their size.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        *,
        rows: int,
        slots: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.layers = [
            LayerCache(
                torch.zeros(rows, slots, heads, dim, dtype=dtype, device=device),
                torch.zeros(rows, slots, heads, dim, dtype=dtype, device=device),
            )
            for heads, dim in shapes
        ]

    @property
    def num_rows(self) -> int:
        """How many rows it holds."""
        return self.layers[0].key.shape[0]

    @property
    def num_slots(self) -> int:
        """How many positions each row has room for."""
        return self.layers[0].key.shape[1]

    def take(self, rows: Int[Tensor, "row"]) -> None:
        """Replace the rows by the given ones, in that order; a row may be taken many times.

        This one move drops finished rows and fans a prompt out to its draws.
        """
        for layer in self.layers:
            layer.key = layer.key.index_select(0, rows)
            layer.value = layer.value.index_select(0, rows)

    def reserve(self, slots: int) -> None:
        """Make room for at least `slots` positions a row."""
        extra = slots - self.num_slots
        for layer in self.layers if extra > 0 else ():
            layer.key = functional.pad(layer.key, (0, 0, 0, 0, 0, extra))
            layer.value = functional.pad(layer.value, (0, 0, 0, 0, 0, extra))

    def join(self, other: "Cache") -> None:
        """Append another cache's rows."""
        slots = max(self.num_slots, other.num_slots)
        self.reserve(slots)
        other.reserve(slots)
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            mine.key = torch.cat((mine.key, theirs.key))
            mine.value = torch.cat((mine.value, theirs.value))

    def move(
        self, source: Int[Tensor, "row"], target: Int[Tensor, "row"], *, first_layer: int = 0
    ) -> None:
        """Copy, in each row r, slot `source[r]` onto slot `target[r]` (a chosen candidate)."""
        if torch.equal(source, target):
            return
        rows = torch.arange(self.num_rows, device=source.device)
        for layer in self.layers[first_layer:]:
            layer.key[rows, target] = layer.key[rows, source]
            layer.value[rows, target] = layer.value[rows, source]
