"""Who sees whom: attention over keys at hand, and over keys kept in two places.

Place in the flow: a layer of `model` makes queries, keys and values and hands them to an
`Attend`; without a cache that is `attend` over the tokens themselves (training, scoring), with
one it is an object of `cache`, which stores the keys and attends over what is stored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Called with query `[*tokens head dim]`, key and value `[*tokens kv dim]`; returns what the
queries see, `[*tokens head dim]`. It knows how the tokens stand."""


@dataclass(frozen=True, slots=True)
class Window:
    """Where the tokens of a forward without a cache stand, and what they see.

    `mask[b, t, key]` is True where token t of row b sees token `key` of its row; None: each
    sees itself and what stands before it.
    """

    positions: Int[Tensor, "batch time"]
    mask: Bool[Tensor, "batch time key"] | None = None

    def to(self, device: torch.device) -> "Window":
        """Return the window with its tensors on a device."""
        mask = None if self.mask is None else self.mask.to(device)
        return Window(self.positions.to(device), mask)


def padded_window(is_real: Bool[Tensor, "batch time"]) -> Window:
    """Return the window of rows padded on either side.

    Positions count real tokens only; a padding position sees itself alone, so that its
    softmax is defined.
    """
    time = is_real.shape[1]
    positions = (is_real.long().cumsum(dim=1) - 1).clamp(min=0)
    causal = torch.ones(time, time, dtype=torch.bool, device=is_real.device).tril()
    itself = torch.eye(time, dtype=torch.bool, device=is_real.device)
    return Window(positions, (causal[None] & is_real[:, None, :]) | itself[None])


def narrowed(
    mask: Bool[Tensor, "batch time key"] | None,
    positions: Int[Tensor, "batch time"],
    width: int | None,
) -> Bool[Tensor, "batch time key"] | None:
    """Cut a mask to each query's last `width` positions (itself counted; None: no limit)."""
    if width is None or (mask is None and positions.shape[1] <= width):
        return mask
    keys, queries = positions[:, None, :], positions[..., None]
    near = keys > queries - width
    return near & (keys <= queries if mask is None else mask)


def attend(
    query: Float[Tensor, "batch time head dim"],
    key: Float[Tensor, "batch time kv dim"],
    value: Float[Tensor, "batch time kv dim"],
    *,
    mask: Bool[Tensor, "batch time time"] | None = None,
) -> Float[Tensor, "batch time head dim"]:
    """Return softmax attention of tokens to each other; `mask` as in `Window`."""
    key, value = key.transpose(1, 2), value.transpose(1, 2)
    if mask is not None:
        return attend_keys(query, key, value, sight(mask, query.dtype))
    group = query.shape[2] // key.shape[1]
    if group > 1:
        key, value = (x.repeat_interleave(group, dim=1) for x in (key, value))
    out = functional.scaled_dot_product_attention(query.transpose(1, 2), key, value, is_causal=True)
    return out.transpose(1, 2)


def sight(mask: Bool[Tensor, "batch time key"], dtype: torch.dtype) -> Tensor:
    """Return a mask as what is added to scores: 0 where a query sees a key, else -inf."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)


def sight_until(
    ends: Int[Tensor, "row entry"],
    starts: Int[Tensor, "row"],
    width: int,
    window: int | None,
    dtype: torch.dtype,
) -> Float[Tensor, "row entry column"]:
    """Return what tokens see of `width` columns that stand at columns `ends` (-1: there is none).

    A row's text begins at column `starts`; `window` is the number of last columns that are seen.
    """
    columns = torch.arange(width, device=ends.device)
    seen = (columns <= ends[..., None]) & (columns >= starts[:, None, None])
    if window is not None:
        seen &= columns > ends[..., None] - window
    return sight(seen, dtype)


def attend_keys(
    query: Float[Tensor, "batch time head dim"],
    key: Float[Tensor, "batch kv key dim"],
    value: Float[Tensor, "batch kv key dim"],
    seen: Float[Tensor, "batch time key"] | None,
) -> Float[Tensor, "batch time head dim"]:
    """Return attention over keys at hand; `seen` is a `sight`, None: each query sees all.

    The query heads of one key head are folded into the time axis, so that keys and values are
    never copied.
    """
    batch, time, heads, dim = query.shape
    kv_heads = key.shape[1]
    group = heads // kv_heads
    if time == 1:
        folded = query.view(batch, kv_heads, group, dim)
        mask = None if seen is None else seen[:, None]
        out = functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask)
        return out.reshape(batch, 1, heads, dim)
    folded = query.transpose(1, 2).reshape(batch, kv_heads, group * time, dim)
    mask = None if seen is None else seen[:, None].repeat(1, 1, group, 1)
    out = functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask)
    return out.reshape(batch, heads, time, dim).transpose(1, 2)


def side_by_side(count: int, first: Attend, others: Attend) -> Attend:
    """Return what attends with `first` for the first `count` tokens, with `others` for the rest."""

    def both(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        parts = (slice(count), slice(count, None))
        return torch.cat(
            [
                attention(query[part], key[part], value[part])
                for attention, part in zip((first, others), parts, strict=True)
            ]
        )

    return both


Partial: TypeAlias = tuple[Tensor, Tensor, Tensor]
"""Unnormalised attention over some of the keys: weighted values, their total weight, the
largest score, each `[*batch query _]`."""


def attend_partly(
    query: Float[Tensor, "batch kv query dim"],
    key: Float[Tensor, "batch kv key dim"],
    value: Float[Tensor, "batch kv key dim"],
    seen: Float[Tensor, "batch #kv #query key"],
) -> Partial:
    """Return attention over some of the keys, to be joined with that over the others."""
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(2, 3)).float()
    scores = scores + seen.clamp(min=-1e30)  # -inf less -inf would be no number
    top = scores.amax(dim=-1, keepdim=True)
    weights = (scores - top).clamp(min=-80).exp()  # what underflows takes ten times as long
    return torch.matmul(weights.to(value.dtype), value), weights.sum(-1, keepdim=True), top


def joined(first: Partial, second: Partial) -> Tensor:
    """Return the attention over the keys of both parts (FlashAttention's split of the keys)."""
    (one, one_total, one_top), (two, two_total, two_top) = first, second
    top = torch.maximum(one_top, two_top)
    one_weight, two_weight = (one_top - top).exp(), (two_top - top).exp()
    total = one_weight * one_total + two_weight * two_total
    return (one_weight * one + two_weight * two) / total
