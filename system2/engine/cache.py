"""Where keys and values are kept while decoding, and which of them a token sees.

Place in the flow: `session` owns one `Cache` a batch and makes a `Window` a forward; `model`
writes and reads through them. A prompt's keys and values are kept once, whatever the number of
rows that go on from it, and attended to by all of them together (cascade attention); what a row
adds stands in slots of its own, in order. What stands beyond a row's end may be anything
(candidates that were not chosen): it is overwritten before it is seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class PromptView:
    """Which kept prompt each batch entry goes on from.

    Entry b is number `rank[b]` of the at most `size` entries of prompt `prompt[b]`;
    `mask[g, m, key]` is True where entry m of prompt g sees a key of the prompt (a middle
    axis of 1 stands for every entry).
    """

    prompt: Int[Tensor, "batch"]
    rank: Int[Tensor, "batch"]
    size: int
    mask: Bool[Tensor, "prompt entry key"]

    def gather(self, x: Float[Tensor, "batch *rest"]) -> Float[Tensor, "prompt entry *rest"]:
        """Return entries in a grid of prompts, zeros where a prompt has fewer."""
        grid = x.new_zeros(self.mask.shape[0], self.size, *x.shape[1:])
        grid[self.prompt, self.rank] = x
        return grid

    def scatter(self, grid: Float[Tensor, "prompt entry *rest"]) -> Float[Tensor, "batch *rest"]:
        """Return the grid's entries in the batch's order."""
        return grid[self.prompt, self.rank]


@dataclass(frozen=True, slots=True)
class Window:
    """Where the tokens of one forward stand and what they see.

    `mask[b, t, key]` is True where a query sees a key; without a cache the keys are the
    tokens themselves, with one they are the slots of the cache's row `rows[b]` (None: row b),
    and `slots` says where the tokens' own keys are written. Several batch entries may share
    a row: candidates for one place, each in a slot of its own. With `prompts`, entries see
    their prompt's keys besides. `mask` None: the tokens see each other, causally.
    """

    positions: Int[Tensor, "batch time"]
    mask: Bool[Tensor, "batch time key"] | None
    slots: Int[Tensor, "batch time"] | None = None
    rows: Int[Tensor, "batch"] | None = None
    prompts: PromptView | None = None

    def to(self, device: torch.device) -> "Window":
        """Return a window without a cache, its tensors on a device."""
        mask = None if self.mask is None else self.mask.to(device)
        return Window(self.positions.to(device), mask)


@dataclass(slots=True)
class LayerCache:
    """Keys and values of one layer: each row's own, and the prompts'.

    `key` and `value` may have room for more rows than there are.
    """

    key: Float[Tensor, "row kv slot dim"]
    value: Float[Tensor, "row kv slot dim"]
    prompt_key: Float[Tensor, "prompt kv place dim"]
    prompt_value: Float[Tensor, "prompt kv place dim"]

    def write(
        self,
        window: Window,
        key: Float[Tensor, "batch time kv dim"],
        value: Float[Tensor, "batch time kv dim"],
    ) -> tuple[Float[Tensor, "batch kv key dim"], Float[Tensor, "batch kv key dim"]]:
        """Store the new keys and values; return all that the window's mask runs over."""
        assert window.slots is not None, "a cache needs a window with slots"
        num_keys = key.shape[1] if window.mask is None else window.mask.shape[-1]
        count, rows = window.slots.shape[0], window.rows
        own = torch.arange(count, device=key.device) if rows is None else rows
        self.key[own[:, None], :, window.slots] = key
        self.value[own[:, None], :, window.slots] = value
        if rows is None:
            return self.key[:count, :, :num_keys], self.value[:count, :, :num_keys]
        keys, values = self.key[:, :, :num_keys], self.value[:, :, :num_keys]
        return keys.index_select(0, rows), values.index_select(0, rows)


class Cache:
    """Keys and values of a batch of rows for a list of layers.

    The layers may belong to several models (a policy's, then its verifier's): rows are
    taken, joined and accepted for all of them at once. `shapes[l]` is layer l's number of
    key heads and their size. There is room for twice the rows where rows were added, so that
    adding a few copies those alone.
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
        self.num_rows = rows

        def empty(rows: int, heads: int, slots: int, dim: int) -> Tensor:
            return torch.zeros(rows, heads, slots, dim, dtype=dtype, device=device)

        self.layers = [
            LayerCache(
                empty(rows, heads, slots, dim),
                empty(rows, heads, slots, dim),
                empty(0, heads, 0, dim),
                empty(0, heads, 0, dim),
            )
            for heads, dim in shapes
        ]

    @property
    def num_slots(self) -> int:
        """How many positions of its own each row has room for."""
        return self.layers[0].key.shape[2]

    def fan_out(self, rows: int) -> None:
        """Make what the rows hold the prompts, and give it `rows` new, empty rows."""
        self.num_rows = rows
        for layer in self.layers:
            layer.prompt_key, layer.prompt_value = layer.key, layer.value
            layer.key = layer.key[:1, :, :0].new_zeros(rows, *layer.key[0, :, :0].shape)
            layer.value = layer.key.clone()

    def take(self, rows: Int[Tensor, "row"]) -> None:
        """Keep the given rows, in that order, a row as often as it is named.

        What stays in its place costs nothing.
        """
        self.num_rows, room = rows.shape[0], self.layers[0].key.shape[0]
        places = torch.arange(self.num_rows, device=rows.device)
        moved = (rows != places).nonzero()[:, 0]
        sources = rows[moved]
        for layer in self.layers:
            if self.num_rows > room:
                layer.key = _taller(layer.key, 2 * self.num_rows)
                layer.value = _taller(layer.value, 2 * self.num_rows)
            if moved.shape[0]:
                layer.key[moved] = layer.key[sources]
                layer.value[moved] = layer.value[sources]

    def take_prompts(self, prompts: Int[Tensor, "prompt"]) -> None:
        """Keep the given prompts, in that order."""
        for layer in self.layers:
            layer.prompt_key = layer.prompt_key.index_select(0, prompts)
            layer.prompt_value = layer.prompt_value.index_select(0, prompts)

    def reserve(self, slots: int) -> None:
        """Make room for at least `slots` own positions a row."""
        if slots <= self.num_slots:
            return
        for layer in self.layers:
            layer.key, layer.value = _widened(layer.key, slots), _widened(layer.value, slots)

    def join(self, other: "Cache") -> None:
        """Append another cache's prompts and rows."""
        own, others = self.num_rows, other.num_rows
        self.num_rows = own + others
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            for name in ("key", "value", "prompt_key", "prompt_value"):
                first, second = getattr(mine, name), getattr(theirs, name)
                if not name.startswith("prompt"):
                    first, second = first[:own], second[:others]
                slots = max(first.shape[2], second.shape[2])
                setattr(mine, name, torch.cat((_widened(first, slots), _widened(second, slots))))

    def move(
        self, source: Int[Tensor, "row"], target: Int[Tensor, "row"], *, first_layer: int = 0
    ) -> None:
        """Copy, in each row r, slot `source[r]` onto slot `target[r]` (a chosen candidate)."""
        if torch.equal(source, target):
            return
        rows = torch.arange(self.num_rows, device=source.device)
        for layer in self.layers[first_layer:]:
            layer.key[rows, :, target] = layer.key[rows, :, source]
            layer.value[rows, :, target] = layer.value[rows, :, source]


def _widened(x: Float[Tensor, "row kv slot dim"], slots: int) -> Float[Tensor, "row kv slots dim"]:
    """Return x with room for `slots` slots."""
    extra = slots - x.shape[2]
    return functional.pad(x, (0, 0, 0, extra)) if extra > 0 else x


def _taller(x: Float[Tensor, "row kv slot dim"], rows: int) -> Float[Tensor, "rows kv slot dim"]:
    """Return x with room for `rows` rows."""
    return functional.pad(x, (0, 0, 0, 0, 0, 0, 0, rows - x.shape[0]))
