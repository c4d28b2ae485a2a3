"""A small model's layers on a CPU, run by one call: `layers.c`, where it was built and fits.

Place in the flow: `step` hands over the weights of a policy's layers and its reader's, the cache
they write, and where tokens stand; elsewhere (a GPU, another dtype, a large model, no compiler
when it was installed) the same arithmetic runs in torch. Why: a step of a small model is a
hundred kernels of a few microseconds, and calling them takes longer than they do.
"""

import ctypes
import hashlib
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.weak import WeakIdKeyDictionary

from system2.engine.cache import Cache, Places
from system2.engine.model import LayerWeights, rms_norm

PANEL = 16
"""Outputs that lie side by side in packed weights."""
WIDE = 8
"""Sizes have to be multiples of this."""
SPAN = 64
"""Tokens whose weights are summed at a time when drawing."""
MOST_BYTES = 64 << 20
"""Weights of more are not packed: the copy would cost memory, and torch is as fast there."""
SWITCH = "SYSTEM2_NATIVE"
"""The environment's variable that turns this off (0)."""

_POINTER = ctypes.c_void_p
_PARTS = (
    *("attention_norm", "qkv", "qkv_bias", "query_norm", "key_norm", "out", "out_bias"),
    *("mlp_norm", "gate_up", "gate_up_bias", "down", "down_bias"),
)
_PACKED = ("qkv", "out", "gate_up", "down")


class _Layer(ctypes.Structure):
    """`Layer` of layers.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("heads", "kv_heads", "head_dim", "inner")),
        ("has_rope", ctypes.c_int32),
        ("eps", ctypes.c_float),
        *((name, _POINTER) for name in _PARTS),
    )


class _Store(ctypes.Structure):
    """`Store` of layers.c."""

    _fields_ = (
        *((name, _POINTER) for name in ("keys", "values")),
        *((name, ctypes.c_int64) for name in ("row_stride", "head_stride")),
        *((name, _POINTER) for name in ("trunk_keys", "trunk_values")),
        *((name, ctypes.c_int64) for name in ("trunk_stride", "trunk_head_stride")),
    )


class _Places(ctypes.Structure):
    """`Places` of layers.c."""

    _fields_ = (
        *((n, _POINTER) for n in ("rows", "columns", "firsts", "ends", "trunks", "trunk_firsts")),
        ("places", ctypes.c_int64),
    )


class _Turns(ctypes.Structure):
    """`Turns` of layers.c."""

    _fields_ = tuple((name, _POINTER) for name in ("cos", "sin", "positions"))


_INT, _LONG = ctypes.c_int32, ctypes.c_int64
_FUNCTIONS: dict[str, tuple[list[Any], Any]] = {
    "needs_avx2": ([], ctypes.c_int),
    "source": ([], ctypes.c_char_p),
    "scratch_floats": ([_POINTER, _INT, _LONG], _LONG),
    "run_layers": (
        [*[_POINTER] * 2, _INT, _LONG, _INT, _POINTER, _INT, *[_POINTER] * 5],
        None,
    ),
    "normed": ([_POINTER, _LONG, _INT, _POINTER, ctypes.c_float, _POINTER], None),
    "linear": ([_POINTER, _INT, _INT, _POINTER, _INT, _POINTER], None),
    "cut": (
        [_POINTER, _LONG, _LONG, ctypes.c_float, ctypes.c_float, _LONG, *[_POINTER] * 5],
        _LONG,
    ),
    "judge": (
        [_POINTER, _LONG, _LONG, *[_POINTER] * 5, _INT, ctypes.c_float],
        None,
    ),
    "choose": ([_POINTER, _LONG, _LONG, *[_POINTER] * 2, _LONG, *[_POINTER] * 4], None),
}


@lru_cache(maxsize=1)
def library() -> Any:
    """Return layers.c as it was built beside this module; None where it was not, or is off.

    One that was built from another layers.c is left alone.
    """
    if os.environ.get(SWITCH) == "0":
        return None
    folder = Path(__file__).parent
    source = hashlib.sha256((folder / "layers.c").read_bytes()).hexdigest()
    for suffix in EXTENSION_SUFFIXES:
        try:
            found = ctypes.CDLL(str(folder / f"_layers{suffix}"))
            for name, (arguments, answer) in _FUNCTIONS.items():
                getattr(found, name).argtypes, getattr(found, name).restype = arguments, answer
        except (OSError, AttributeError):  # not built, or of another layers.c
            continue
        has_avx2 = torch.backends.cpu.get_cpu_capability().startswith("AVX")
        if found.source() == source.encode() and (has_avx2 or not found.needs_avx2()):
            return found
    return None


_packed = WeakIdKeyDictionary()
"""Weights to ((address, version), packed)."""


def packed(weight: Float[Tensor, "output input"]) -> Tensor:
    """Return a matrix as layers.c reads it; packed again only when it has changed."""
    version = (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
    known = cast("tuple[object, Tensor] | None", _packed.get(weight))
    if known is not None and known[0] == version:
        return known[1]
    outputs, inputs = weight.shape
    panels = -(-outputs // PANEL)
    with torch.inference_mode(False), torch.no_grad():
        full = functional.pad(weight.detach(), (0, 0, 0, panels * PANEL - outputs))
        found = full.view(panels, PANEL, inputs).transpose(1, 2).contiguous()
    _packed[weight] = version, found
    return found


class NativeLayers:
    """The packed weights of some layers. Made by `native_layers`."""

    def __init__(self, weights: Sequence[LayerWeights]) -> None:
        self.size = weights[0].qkv.shape[1]
        self.layers = (_Layer * len(weights))()
        self._kept: list[Tensor] = []  # what the addresses below are of
        for layer, w in zip(self.layers, weights, strict=True):
            layer.heads, layer.kv_heads, layer.head_dim = w.heads, w.kv_heads, w.head_dim
            layer.inner, layer.has_rope, layer.eps = w.down.shape[1], w.has_rope, w.eps
            for name in _PARTS:
                part = cast("Tensor | None", getattr(w, name))
                if part is not None:
                    part = packed(part) if name in _PACKED else part.detach().contiguous()
                    self._kept.append(part)
                    setattr(layer, name, part.data_ptr())


class NativeStack:
    """Packed layers over a cache."""

    def __init__(self, layers: NativeLayers, cache: Cache) -> None:
        self.layers, self.cache = layers, cache
        self._run: Callable[..., None] = library().run_layers
        self._stores = (_Store * len(layers.layers))()
        self._own = self._trunks = list[Tensor]()  # the slabs that the stores point at
        self._scratch = torch.empty(0)
        self._places: Places | None = None
        self._at = _Places()

    def run(
        self,
        layers: slice,
        x: Float[Tensor, "token size"],
        table: tuple[Float[Tensor, "position 1 dim"], Float[Tensor, "position 1 dim"]],
        positions: Int[Tensor, "token"],
        places: Places,
        tap: int | None = None,
    ) -> tuple[Float[Tensor, "token size"], Tensor | None]:
        """Return what some of the layers make of hidden states, and what layer `tap` is given.

        `table` turns each position. Where some tokens are `needed`, the others' states are not
        what the last layer makes of them.
        """
        if self.cache.own is not self._own or self.cache.trunks is not self._trunks:
            self._bind()
        if places is not self._places:
            self._places = places
            self._at = _Places(*[field.data_ptr() for field in places.fields()])
            self._at.places = self.cache.trunks[0].shape[4]
        first, last, _ = layers.indices(len(self._stores))
        x = x.detach().clone()
        tapped = torch.empty_like(x) if tap is not None else None
        self._run(
            ctypes.byref(self.layers.layers, first * ctypes.sizeof(_Layer)),
            ctypes.byref(self._stores, first * ctypes.sizeof(_Store)),
            last - first,
            x.shape[0],
            self.layers.size,
            x.data_ptr(),
            tap or 0,
            tapped.data_ptr() if tapped is not None else None,
            ctypes.byref(_Turns(table[0].data_ptr(), table[1].data_ptr(), positions.data_ptr())),
            ctypes.byref(self._at),
            places.needed.data_ptr() if places.needed is not None else None,
            self._scratch.data_ptr(),
        )
        return x, tapped

    def _bind(self) -> None:
        """Have the stores point at the cache's slabs, which have moved."""
        self._own, self._trunks, self._places = self.cache.own, self.cache.trunks, None
        slabs = zip(self._own, self._trunks, strict=True)
        pairs = [(own[i], kept[i]) for own, kept in slabs for i in range(own.shape[0])]
        columns = self.cache.num_columns + self._trunks[0].shape[4]
        floats = 0
        for layer, store, (own, kept) in zip(self.layers.layers, self._stores, pairs, strict=True):
            store.keys, store.values = own[0].data_ptr(), own[1].data_ptr()
            store.row_stride, store.head_stride = own.stride()[1:3]
            store.trunk_keys, store.trunk_values = kept[0].data_ptr(), kept[1].data_ptr()
            store.trunk_stride, store.trunk_head_stride = kept.stride()[1:3]
            needed = library().scratch_floats(ctypes.byref(layer), self.layers.size, columns)
            floats = max(floats, needed)
        self._scratch = torch.empty(floats)


def native_layers(weights: Sequence[LayerWeights]) -> NativeLayers | None:
    """Return layers that run by one call; None where torch has to run them."""
    sizes = {n for w in weights for n in (w.qkv.shape[1], w.down.shape[1], w.head_dim)}
    each = [m for w in weights for m in (w.qkv, w.out, w.gate_up, w.down)]
    is_fit = (
        library() is not None
        and all(m.dtype == torch.float32 and m.device.type == "cpu" for m in each)
        and all(size % WIDE == 0 for size in sizes)
        and all(w.heads * w.head_dim % PANEL == 0 for w in weights)
        and len({w.qkv.shape[1] for w in weights}) == 1
        and sum(m.nbytes for m in each) <= MOST_BYTES
    )
    return NativeLayers(weights) if is_fit else None


def _is_fit(x: Tensor, weight: Tensor) -> bool:
    return (
        weight.dtype == x.dtype == torch.float32
        and weight.device.type == "cpu"
        and not x.requires_grad
        and x.is_contiguous()
        and weight.shape[-1] % WIDE == 0
        and library() is not None
    )


def linear(x: Float[Tensor, "token input"], weight: Tensor) -> Float[Tensor, "token output"]:
    """Return `functional.linear(x, weight)`, no gradients kept."""
    if not _is_fit(x, weight) or weight.nbytes > MOST_BYTES:
        return functional.linear(x, weight)
    y = torch.empty(x.shape[0], weight.shape[0])
    at = (x.data_ptr(), *x.shape, packed(weight).data_ptr(), weight.shape[0], y.data_ptr())
    library().linear(*at)
    return y


def normed(x: Float[Tensor, "token size"], weight: Tensor, eps: float) -> Tensor:
    """Return `rms_norm(x, weight, eps)`, no gradients kept."""
    if not _is_fit(x, weight):
        return rms_norm(x, weight, eps)
    y = torch.empty_like(x)
    library().normed(x.data_ptr(), *x.shape, weight.data_ptr(), eps, y.data_ptr())
    return y


LISTED = 32
"""Plausible tokens a row that there is room for at first."""


def cut(
    logits: Float[Tensor, "row vocab"], least: float, gate: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, NDArray[np.bool_]] | None:
    """Return the fields of `sampling.Plausible`, the logits cut in place; None: torch has to."""
    if not (_is_vocabulary(logits) and logits.is_contiguous()):
        return None
    rows, vocab = logits.shape
    room, is_open = LISTED * rows, torch.empty(rows, dtype=torch.bool)
    said: int | None = is_open.data_ptr()
    while True:
        lists = torch.empty(3 * room + rows, dtype=torch.long)
        at = [lists.data_ptr() + 8 * room * part for part in range(4)]
        listed: int = library().cut(logits.data_ptr(), rows, vocab, least, gate, room, *at, said)
        if listed <= room:
            break
        room, said = listed, None  # there are more than was thought: list them again
    of, ids, ranks = (lists[part : part + listed] for part in (0, room, 2 * room))
    return logits, of, ids, ranks, lists[3 * room :], is_open.numpy()


def judge(
    kept: Float[Tensor, "row vocab"],
    rows: Int[Tensor, "plausible"],
    ids: Int[Tensor, "plausible"],
    is_open: NDArray[np.bool_],
    own: Float[Tensor, "row size"],
    head: Float[Tensor, "vocab size"],
    beta: float,
) -> bool:
    """Add beta * (own . head - logit) to the plausible logits of open rows; whether it could."""
    if not (_is_vocabulary(kept) and _is_fit(own, head) and head.is_contiguous()):
        return False
    at = [x.data_ptr() for x in (rows, ids, torch.from_numpy(is_open), own, head)]
    library().judge(kept.data_ptr(), kept.shape[1], rows.shape[0], *at, own.shape[1], beta)
    return True


def _is_vocabulary(logits: Tensor) -> bool:
    is_here = logits.dtype == torch.float32 and logits.device.type == "cpu"
    return is_here and not logits.requires_grad and library() is not None


def drawn(
    logits: Float[Tensor, "row vocab"],
    temperature: Float[Tensor, "row"],
    uniform: Float[Tensor, "row draw"],
) -> tuple[Int[Tensor, "row draw"], Float[Tensor, "row draw"]] | None:
    """Return what `sampling.choose` does; None where torch has to."""
    if not _is_vocabulary(logits):
        return None
    rows, vocab = logits.shape
    draws = uniform.shape[1]
    tokens, logprobs = torch.empty(rows, draws, dtype=torch.long), torch.empty(rows, draws)
    spans = -(-vocab // SPAN)
    scratch = torch.empty(spans * SPAN), torch.empty(spans, dtype=torch.float64)
    inputs = logits.contiguous(), temperature.contiguous(), uniform.double().contiguous()
    at = [x.data_ptr() for x in (*inputs, tokens, logprobs, *scratch)]
    library().choose(at[0], rows, vocab, at[1], at[2], draws, *at[3:])
    return tokens, logprobs
