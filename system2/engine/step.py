"""One forward through a policy and what reads along with it, and where its tokens stand.

Place in the flow: `prefill` and `session` say where tokens stand and what they see (a `Step`),
`forward` runs them. A `Reader` is a guide's own layers (a token verifier's, an amateur's).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from system2.engine.attention import Attend
from system2.engine.cache import Cache, Places
from system2.engine.model import LanguageModel, Layer, run_layer
from system2.engine.native import native_layers, normed


class Stack:
    """The layers of a policy, and then of its reader, over the cache that they write.

    One call runs them where `native` does; else torch, kernel by kernel.
    """

    def __init__(self, model: LanguageModel, reader: "Reader | None") -> None:
        layers = [*model.model.layers, *(reader.layers() if reader is not None else ())]
        self.weights = [cast(Layer, layer).weights() for layer in layers]
        shapes = [(w.kv_heads, w.head_dim) for w in self.weights]
        first = self.weights[0].qkv
        self.cache = Cache(shapes, dtype=first.dtype, device=first.device)
        self.native = native_layers(self.weights, self.cache)


@dataclass(frozen=True, slots=True)
class Step:
    """Where the tokens of one forward stand, for some of the `layers` of a stack.

    `turns` are the policy's rotary turns of the tokens' positions. `places` and `attends` say
    the same in two ways, and only one of them is asked: where each token stands and what it
    sees, or what each layer of the stack attends with.
    """

    positions: Int[Tensor, "token"]
    turns: tuple[Tensor, Tensor]
    stack: Stack
    places: Callable[[], Places]
    attends: Callable[[], Sequence[Attend]]
    layers: slice = field(default_factory=lambda: slice(None))

    def of(self, layers: slice) -> "Step":
        """Return the step of some of the stack's layers."""
        at = (self.positions, self.turns, self.stack, self.places, self.attends)
        return Step(*at, layers)

    def run(
        self, x: Float[Tensor, "token size"], turns: tuple[Tensor, Tensor] | None = None
    ) -> Float[Tensor, "token size"]:
        """Run the layers over hidden states; `turns` other than the policy's for another model."""
        if self.stack.native is not None:
            return self.stack.native.run(self.layers, x, turns or self.turns, self.places())
        layers = zip(self.stack.weights, self.attends(), strict=True)
        for weights, attend in list(layers)[self.layers]:
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
    return normed(x, trunk.norm.weight, trunk.norm.eps), tapped, own


def rotary_table(model: LanguageModel, limit: int) -> tuple[Tensor, Tensor]:
    """Return the rotary turns of positions 0 to `limit` (exclusive): looked up, step by step."""
    device = model.model.norm.weight.device
    return model.turns(torch.arange(limit, device=device))
