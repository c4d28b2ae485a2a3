"""One forward through a policy and what reads along with it, and where its tokens stand.

Place in the flow: `prefill` and `session` say where tokens stand and what they see (a `Step`),
`forward` runs them. A `Reader` is a guide's own layers (a token verifier's, an amateur's).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from system2.engine.attention import Attend
from system2.engine.cache import Cache
from system2.engine.model import LanguageModel, Layer, LayerWeights, rms_norm, run_layer


@dataclass(frozen=True, slots=True)
class Step:
    """Where the tokens of one forward stand, for each of a number of layers.

    `turns` are the policy's rotary turns of the tokens' positions, `attends[i]` is what layer
    i of those whose `weights` are named attends with.
    """

    positions: Int[Tensor, "token"]
    turns: tuple[Tensor, Tensor]
    weights: Sequence[LayerWeights]
    attends: Sequence[Attend]

    def of(self, layers: slice) -> "Step":
        """Return the step of some of the layers."""
        return Step(self.positions, self.turns, self.weights[layers], self.attends[layers])

    def run(
        self, x: Float[Tensor, "token size"], turns: tuple[Tensor, Tensor] | None = None
    ) -> Float[Tensor, "token size"]:
        """Run the layers over hidden states; `turns` other than the policy's for another model."""
        for weights, attend in zip(self.weights, self.attends, strict=True):
            x = run_layer(weights, x, turns or self.turns, attend)
        return x


class Reader(Protocol):
    """What runs layers of its own beside the policy's, in the same cache.

    `tap` is the policy layer whose input it reads (the number of layers: the last layer's
    output, before the norm). One that `is_lazy` reads when its guide asks for it
    (`Session.read`), several tokens at once; else it reads every token as it is run.
    """

    tap: int
    is_lazy: bool

    def layers(self) -> Iterable[nn.Module]:
        """Return the layers (`model.Layer`) whose keys and values it keeps in the cache."""
        ...

    def parameters(self) -> Iterable[Tensor]:
        """Return the weights that what it reads depends on."""
        ...

    def read(
        self, tokens: Int[Tensor, "token"], tapped: Float[Tensor, "token size"], step: Step
    ) -> Float[Tensor, "token own"] | None:
        """Run its own layers, those of `step`, over tokens; return their states, if any."""
        ...


def layers_of(model: LanguageModel, reader: Reader | None) -> list[LayerWeights]:
    """Return the weights of a policy's layers, and then of its reader's, as they are now."""
    layers = [*model.model.layers, *(reader.layers() if reader is not None else ())]
    return [cast(Layer, layer).weights() for layer in layers]


def new_cache(weights: Sequence[LayerWeights]) -> Cache:
    """Return an empty cache for some layers."""
    shapes = [(layer.kv_heads, layer.head_dim) for layer in weights]
    return Cache(shapes, dtype=weights[0].qkv.dtype, device=weights[0].qkv.device)


def forward(
    model: LanguageModel,
    reader: Reader | None,
    tokens: Int[Tensor, "token"],
    step: Step,
    *,
    is_read: bool = True,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Run tokens; return the policy's normed last states, what a reader taps, what it read.

    Each `[token size]`; `is_read` False: it reads later, or has read these tokens.
    """
    trunk, top = model.model, model.config.num_layers
    tap = reader.tap if reader is not None else top
    tapped = step.of(slice(tap)).run(functional.embedding(tokens, trunk.embed_tokens.weight))
    x = step.of(slice(tap, top)).run(tapped) if tap < top else tapped
    own = None
    if reader is not None and is_read:
        own = reader.read(tokens, tapped, step.of(slice(top, None)))
    return rms_norm(x, trunk.norm.weight, trunk.norm.eps), tapped, own


def rotary_table(model: LanguageModel, limit: int) -> tuple[Tensor, Tensor]:
    """Return the rotary turns of positions 0 to `limit` (exclusive): looked up, step by step."""
    device = model.model.norm.weight.device
    return model.turns(torch.arange(limit, device=device))
