"""One forward through a policy and the guide beside it, and where its tokens stand.

Place in the flow: `prefill` and `session` say where tokens stand and what they see (a `Step`),
`forward` runs them; a `Guide` (LLM2's token verifiers, contrastive decoding, or none) may keep
layers of its own in the same cache and change the next token's logits.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from system2.engine.attention import Attend
from system2.engine.cache import Cache
from system2.engine.model import LanguageModel, run_attending

if TYPE_CHECKING:
    from system2.engine.session import Session


@dataclass(frozen=True, slots=True)
class Step:
    """Where the tokens of one forward stand: their positions, the policy's rotary turns of
    them, and what each layer of the cache (the policy's, then the guide's) attends with."""

    positions: Int[Tensor, "token"]
    turns: tuple[Tensor, Tensor]
    attends: Sequence[Attend]


class Guide(Protocol):
    """What adjusts the next token's logits inside the engine's step.

    `tap` is the policy layer whose input the guide reads (the number of layers: the last
    layer's output, before the norm).
    """

    tap: int

    def cache_shapes(self) -> list[tuple[int, int]]:
        """Return (key heads, head size) of each layer that the guide keeps in the cache."""
        ...

    def parameters(self) -> Iterable[Tensor]:
        """Return the weights that the guide's layers are made of."""
        ...

    def read(
        self, tokens: Int[Tensor, "token"], tapped: Float[Tensor, "token size"], step: Step
    ) -> Float[Tensor, "token own"] | None:
        """Run the guide's own layers over tokens; return what `adjust` needs of each.

        `step.attends` are those of the guide's layers.
        """
        ...

    def adjust(
        self, session: "Session", logits: Float[Tensor, "batch vocab"]
    ) -> Float[Tensor, "batch vocab"]:
        """Return adjusted logits of every row's next token; -inf is never chosen."""
        ...

    def advance(
        self, session: "Session", rows: Int[Tensor, "next"], chosen: Int[Tensor, "next"]
    ) -> None:
        """Go on from row `rows[i]` with token `chosen[i]`, for each next row i."""
        ...


def new_cache(model: LanguageModel, guide: Guide | None) -> Cache:
    """Return an empty cache for a policy's layers and its guide's."""
    config, weight = model.config, model.model.norm.weight
    shapes = [(config.num_kv_heads, config.head_dim)] * config.num_layers
    if guide is not None:
        shapes = shapes + guide.cache_shapes()
    return Cache(shapes, dtype=weight.dtype, device=weight.device)


def forward(
    model: LanguageModel,
    guide: Guide | None,
    tokens: Int[Tensor, "token"],
    step: Step,
    *,
    is_read: bool = True,
) -> tuple[Float[Tensor, "token size"], Float[Tensor, "token own"] | None]:
    """Run tokens; return the policy's normed last states, and what the guide read.

    `is_read` False: the guide's layers hold these tokens already.
    """
    trunk, top = model.model, model.config.num_layers
    tap = guide.tap if guide is not None else top
    tapped = run_attending(
        trunk.layers[:tap], trunk.embed_tokens(tokens), step.turns, step.attends[:tap]
    )
    x = tapped
    if tap < top:
        x = run_attending(trunk.layers[tap:], tapped, step.turns, step.attends[tap:top])
    own = None
    if guide is not None and is_read:
        own = guide.read(tokens, tapped, Step(step.positions, step.turns, step.attends[top:]))
    return trunk.norm(x), own


def rotary_table(model: LanguageModel, limit: int) -> tuple[Tensor, Tensor]:
    """Return the rotary turns of positions 0 to `limit` (exclusive): looked up, step by step."""
    device = model.model.norm.weight.device
    return model.turns(torch.arange(limit, device=device))
