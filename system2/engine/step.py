"""One forward through a policy and what reads along with it, and where its tokens stand.

Place in the flow: `prefill` and `session` say where tokens stand and what they see (a `Step`),
`forward` runs them. A `Reader` is a guide's own layers (a token verifier's, an amateur's).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from system2.engine.attention import Attend, side_by_side
from system2.engine.cache import Cache, Places
from system2.engine.model import LanguageModel, Layer, run_layer
from system2.engine.native import NativeStack, linear, native_layers, normed

FIRST_TABLE = 512
"""Positions whose rotary turns are looked up from the start."""

T = TypeVar("T")


class Once(Generic[T]):
    """What is made when it is first called for."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make, self._made = make, list[T]()

    def __call__(self) -> T:
        """Return it."""
        if not self._made:
            self._made.append(self._make())
        return self._made[0]


def pays_graphs(device: torch.device) -> bool:
    """Whether launching a step's kernels one by one takes longer than they do."""
    return device.type == "cuda"


class Layers:
    """A policy's layers and then its reader's, with their weights as they are now.

    To be made anew when those change (`LocalPolicy` does). With `has_graphs` (None: on a GPU) a
    session's steps run over static buffers where they can (`graphs`). Else `native` runs the
    layers by one call, where that is possible, or torch does, kernel by kernel.
    """

    def __init__(
        self,
        model: LanguageModel,
        reader: "Reader | None" = None,
        *,
        has_graphs: bool | None = None,
    ) -> None:
        self.model, self.reader = model, reader
        both = [*model.model.layers, *(reader.layers() if reader is not None else ())]
        self.weights = [cast(Layer, layer).weights() for layer in both]
        device = self.weights[0].qkv.device
        self.has_graphs = pays_graphs(device) if has_graphs is None else has_graphs
        self.native = None if self.has_graphs else native_layers(self.weights)
        self._table = self._turned(FIRST_TABLE)

    def new_cache(self) -> Cache:
        """Return an empty cache for the layers."""
        shapes = [(w.kv_heads, w.head_dim) for w in self.weights]
        first = self.weights[0].qkv
        return Cache(shapes, dtype=first.dtype, device=first.device)

    def turns(self, limit: int) -> tuple[Tensor, Tensor]:
        """Return the policy's rotary turns of at least the positions 0 to `limit` (exclusive)."""
        if limit > self._table[0].shape[0]:
            self._table = self._turned(2 * limit)
        return self._table

    def _turned(self, limit: int) -> tuple[Tensor, Tensor]:
        return self.model.turns(torch.arange(limit, device=self.model.model.norm.weight.device))

    def logits(self, hidden: Float[Tensor, "row size"]) -> Float[Tensor, "row vocab"]:
        """Return the policy's scores of the next token."""
        return linear(hidden, self.model.lm_head.weight).float()

    def forward(
        self, tokens: Int[Tensor, "token"], step: "Step", *, is_read: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run tokens; return the policy's normed last states, the reader's input, what it read.

        Each `[token size]`; `is_read` False: it reads later, or has read these tokens.
        """
        trunk, top = self.model.model, self.model.config.num_layers
        tap = self.reader.tap if self.reader is not None else 0
        x = functional.embedding(tokens, trunk.embed_tokens.weight)
        x, tapped = step.of(slice(top)).tapped(x, tap)
        given, own = tapped if tap else tokens, None
        if self.reader is not None and is_read:
            own = self.reader.read(given, step.of(slice(top, None)))
        return normed(x, trunk.norm.weight, trunk.norm.eps), given, own


class Stack:
    """Layers over a cache of their own."""

    def __init__(self, layers: Layers) -> None:
        self.weights, self.cache = layers.weights, layers.new_cache()
        self.native = NativeStack(layers.native, self.cache) if layers.native is not None else None


@dataclass(frozen=True, slots=True)
class Step:
    """Where the tokens of one forward stand, for some of the layers of a `stack`.

    `table` holds the policy's rotary turns, position by position. `places` and `attends` say the
    same in two ways, and only one of them is asked: where each token stands and what it sees,
    or what each layer of the stack attends with.
    """

    positions: Int[Tensor, "token"]
    table: tuple[Tensor, Tensor]
    stack: Stack
    places: Once[Places]
    attends: Once[Sequence[Attend]]
    layers: slice = field(default_factory=lambda: slice(None))

    def of(self, layers: slice) -> "Step":
        """Return the step of some of the stack's layers."""
        return Step(self.positions, self.table, self.stack, self.places, self.attends, layers)

    def run(
        self, x: Float[Tensor, "token size"], table: tuple[Tensor, Tensor] | None = None
    ) -> Float[Tensor, "token size"]:
        """Run the layers over hidden states; `table` other than the policy's for another model."""
        if (native := self.stack.native) is not None:
            at = (table or self.table, self.positions, self.places())
            return native.run(self.layers, x, *at)[0]
        cos, sin = table or self.table
        turns = cos[self.positions], sin[self.positions]
        layers = list(zip(self.stack.weights, self.attends(), strict=True))
        for weights, attend in layers[self.layers]:
            x = run_layer(weights, x, turns, attend)
        return x

    def tapped(self, x: Float[Tensor, "token size"], tap: int) -> tuple[Tensor, Tensor]:
        """Run the first layers over hidden states; return theirs, and what layer `tap` is given."""
        top = self.layers.stop
        if not 0 < tap < top:
            states = self.run(x)
            return states, states if tap else x
        if (native := self.stack.native) is not None:
            at = (self.table, self.positions, self.places())
            states, tapped = native.run(self.layers, x, *at, tap)
            assert tapped is not None, "it was asked for"
            return states, tapped
        tapped = self.of(slice(tap)).run(x)
        return self.of(slice(tap, top)).run(tapped), tapped


def in_front(first: Step, then: Step) -> Step:
    """Return a step of both, the first of which is run for its keys and values alone."""
    count, number = first.positions.shape[0], then.positions.shape[0]

    def places() -> Places:
        pairs = zip(first.places().fields(), then.places().fields(), strict=True)
        fields = [torch.cat(pair) for pair in pairs]
        needed = torch.arange(count + number, device=first.positions.device) >= count
        return Places(*fields, needed=needed)

    def attends() -> list[Attend]:
        pairs = zip(first.attends(), then.attends(), strict=True)
        return [side_by_side(count, *pair) for pair in pairs]

    positions = torch.cat((first.positions, then.positions))
    return Step(positions, first.table, first.stack, Once(places), Once(attends))


class Reader(Protocol):
    """What runs layers of its own beside the policy's, in the same cache.

    `tap` is the policy layer whose input it reads (0: the tokens themselves; the number of layers:
    the last layer's output, before the norm). One that `is_lazy` reads when its guide asks for it
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
        self, given: Int[Tensor, "token"] | Float[Tensor, "token size"], step: Step
    ) -> Float[Tensor, "token own"] | None:
        """Run its own layers, those of `step`, over tokens; return their states, if any."""
        ...
