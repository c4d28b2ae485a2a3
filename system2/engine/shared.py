"""Weights in memory that several processes share: one file that no folder shows, mapped by each.

Place in the flow: `processes` moves a policy's weights there; what is written into them, by any
process, all see. One file for all, for a large model has more tensors than a process may have
open files; no /dev/shm, which is often too small in a container.
"""

import copy
import math
import mmap
import os
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from system2.engine.local import version_of

ALIGNMENT = 64
"""Bytes: each weight begins at a multiple of so many."""

Layout: TypeAlias = Sequence[tuple[torch.dtype, tuple[int, ...]]]
"""The types and shapes of tensors that lie one after the other."""

_T = TypeVar("_T")


class SharedWeights:
    """Weights that move to a file's memory, and stay there when the file is closed."""

    def __init__(self, weights: Sequence[Tensor], file: int) -> None:
        self.weights = weights
        self.layout: Layout = [(weight.dtype, tuple(weight.shape)) for weight in weights]
        os.truncate(file, _ends(self.layout)[-1])
        self._places = placed(file, self.layout)
        self._versions: list[int] = []
        _ = self.take_in()

    @torch.inference_mode(False)
    @torch.no_grad()
    def take_in(self) -> bool:
        """Move in what stands elsewhere; return whether any weight changed since the last time."""
        for weight, place in zip(self.weights, self._places, strict=True):
            if weight.data_ptr() != place.data_ptr():
                _ = place.copy_(weight)
                weight.data = place
                increment_version(weight)  # what is known of the place is of other weights
        before, self._versions = self._versions, [version_of(weight) for weight in self.weights]
        return before != self._versions

    def left_out(self, thing: _T, *, keeping: object) -> _T:
        """Return a copy of what holds the weights, with empty ones; `keeping` is not copied."""
        memo: dict[int, object] = {id(weight): _emptied(weight) for weight in self.weights}
        return copy.deepcopy(thing, {**memo, id(keeping): keeping})


def placed(file: int, layout: Layout) -> list[Tensor]:
    """Return the tensors that a file holds; they are mapped, not read."""
    ends = _ends(layout)
    whole = torch.frombuffer(mmap.mmap(file, ends[-1]), dtype=torch.uint8)
    places: list[Tensor] = []
    for end, (dtype, shape) in zip(ends, layout, strict=True):
        size = math.prod(shape) * dtype.itemsize
        places.append(whole[end - size : end].view(dtype).view(shape))
    return places


@contextmanager
def unnamed_file() -> Generator[int]:
    """Give an empty file that goes with the last process that maps it: in memory on Linux."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("system2-weights")
        try:
            yield file
        finally:
            os.close(file)
    else:
        with tempfile.TemporaryFile() as temporary:
            yield temporary.fileno()


def _ends(layout: Layout) -> list[int]:
    """Return where each tensor ends, in bytes."""
    ends, start = list[int](), 0
    for dtype, shape in layout:
        ends.append(start + math.prod(shape) * dtype.itemsize)
        start = -(-ends[-1] // ALIGNMENT) * ALIGNMENT
    return ends


def _emptied(weight: Tensor) -> Tensor:
    nothing = torch.empty(0, dtype=weight.dtype)
    return nn.Parameter(nothing, False) if isinstance(weight, nn.Parameter) else nothing
