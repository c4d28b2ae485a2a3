"""Choosing the next token from logits: pure functions over a batch of rows.

Every draw brings its own uniform number, from a stream seeded by its request, prefix and
draw alone, so what else is in the batch changes nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from system2.core import derive_seed
from system2.engine import native


def uniforms(seed: int, prefix: int, draw: int, count: int) -> list[float]:
    """Return the uniform numbers in [0, 1) of one draw, one a token."""
    key = derive_seed("draw", seed, prefix, draw)
    return np.random.Generator(np.random.Philox(key=key)).random(count).tolist()


def as_ints(values: Tensor) -> list[int]:
    """Return a vector of whole numbers as a list."""
    return values.tolist()  # pyright: ignore[reportUnknownVariableType]  (torch says list[Any])


def as_floats(values: Tensor) -> list[float]:
    """Return a vector of numbers as a list."""
    return values.tolist()  # pyright: ignore[reportUnknownVariableType]  (torch says list[Any])


def plausible(logits: Float[Tensor, "batch vocab"], alpha: float) -> Bool[Tensor, "batch vocab"]:
    """Return LLM2's plausible set V: tokens with p >= alpha * max p (arXiv 2412.20372, 3.1).

    alpha in [0, 1]; 1 leaves the most probable token (and its exact ties), 0 leaves all.
    """
    top = logits.amax(dim=-1, keepdim=True)
    if alpha == 0:
        return torch.ones_like(logits, dtype=torch.bool)
    return logits >= top + float(np.log(alpha))


@dataclass(frozen=True, slots=True)
class Plausible:
    """The plausible tokens of rows: the n-th is `ids[n]` of row `rows[n]`.

    `ranks[n]` counts within the row; those of rank 0 come first, in the order of their rows.
    `counts` says how many a row has, `kept` holds their logits, -inf elsewhere. A row `is_open`
    where it has several, and the best is less probable than the gate.
    """

    kept: Float[Tensor, "row vocab"]
    rows: Int[Tensor, "plausible"]
    ids: Int[Tensor, "plausible"]
    ranks: Int[Tensor, "plausible"]
    counts: Int[Tensor, "row"]
    is_open: NDArray[np.bool_]


def cut(logits: Float[Tensor, "row vocab"], alpha: float, gate: float = 1.0) -> Plausible:
    """Return each row's plausible set (`plausible`), as a list and as what is left of the logits.

    A row of which a logit is no number keeps nothing, and its token 0 is listed. `logits` may be
    what is cut.
    """
    least = float(np.log(alpha)) if alpha else -math.inf
    if (found := native.cut(logits, least, gate)) is not None:
        return Plausible(*found)
    mask = plausible(logits, alpha)
    counts, is_none = mask.sum(dim=1), ~mask.any(dim=1)
    mask[:, 0] |= is_none
    rows, ids = mask.nonzero(as_tuple=True)
    starts = torch.searchsorted(rows, torch.arange(mask.shape[0], device=rows.device))
    ranks = torch.arange(rows.shape[0], device=rows.device) - starts[rows]
    order = torch.cat((starts, ranks.nonzero()[:, 0]))
    kept = logits.masked_fill(~mask | is_none[:, None], -torch.inf)
    is_open = counts > 1
    if gate < 1:
        is_open &= logits.softmax(dim=-1).amax(dim=-1) < gate
    listed = rows[order], ids[order], ranks[order]
    return Plausible(kept, *listed, counts, is_open.cpu().numpy())


def truncate(
    logits: Float[Tensor, "batch vocab"],
    top_p: Float[Tensor, "batch"],
    top_k: Int[Tensor, "batch"],
) -> Float[Tensor, "batch vocab"]:
    """Set to -inf what lies outside the `top_k` tokens (0: no limit) or the `top_p` nucleus.

    The nucleus is the smallest set of most probable tokens whose probability reaches
    `top_p`; it always holds one. Equal logits are ordered by token id.
    """
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    rank = torch.arange(logits.shape[-1], device=logits.device)[None]
    limit = torch.where(top_k > 0, top_k, logits.shape[-1])[:, None]
    is_out = (rank >= limit) | ((before >= top_p[:, None]) & (rank > 0) & (top_p[:, None] < 1))
    return torch.full_like(logits, -torch.inf).scatter(
        1, order, ordered.masked_fill(is_out, -torch.inf)
    )


def choose(
    logits: Float[Tensor, "batch vocab"],
    temperature: Float[Tensor, "batch"],
    uniform: Float[Tensor, "batch draw"],
) -> tuple[Int[Tensor, "batch draw"], Float[Tensor, "batch draw"]]:
    """Choose a token for each draw of a row; return it with its log-probability (nats).

    Temperature 0 takes the most probable token, the lowest id among equals, and reports its
    log-probability at temperature 1. Otherwise the token is where the cumulative
    distribution passes the draw's uniform number.
    """
    if (found := native.drawn(logits, temperature, uniform)) is not None:
        return found
    is_greedy = temperature == 0
    below = logits.float() - logits.amax(dim=-1, keepdim=True)  # first: a tiny T overflows nothing
    warm = below / torch.where(is_greedy, 1.0, temperature)[:, None]
    # raised to a floor, since exp takes ten times as long where it underflows
    probabilities = warm.clamp(min=-80).softmax(dim=-1)
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    drawn = torch.searchsorted(cumulative, uniform.double() * cumulative[:, -1:], right=True)
    drawn = drawn.clamp(max=logits.shape[-1] - 1)
    # what lay below the floor has some 1e-35 now: never take it
    is_best = is_greedy[:, None] | (warm.gather(1, drawn) < -80)
    if bool(is_best.any()):
        drawn = torch.where(is_best, most_probable(logits)[:, None], drawn)
    return drawn, probabilities.gather(1, drawn).log()


def choose_greedily(
    logits: Float[Tensor, "batch vocab"],
) -> tuple[Int[Tensor, "batch 1"], Float[Tensor, "batch 1"]]:
    """Return each row's most probable token and its log-probability, as `choose` does at 0."""
    tokens = most_probable(logits)[:, None]
    return tokens, logits.float().log_softmax(dim=-1).gather(1, tokens)


def most_probable(logits: Float[Tensor, "batch vocab"]) -> Int[Tensor, "batch"]:
    """Return each row's most probable token, the lowest id among equals."""
    if logits.device.type == "cpu" and logits.dtype == torch.float32:
        return torch.from_numpy(logits.numpy().argmax(axis=-1))  # nine times as fast as torch's
    return logits.argmax(dim=-1)
