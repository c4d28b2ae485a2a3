"""What a lazy reader has still to read: tokens and tapped states, row by row.

Place in the flow: `session` notes every token that it runs, and hands over what a row's reader
has missed when it is asked for.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

ROOM = 32
"""Tokens a row that there is room for at first."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """The last tokens of some rows: `counts[i]` of row `of[i]`, one stretch after another.

    Token n is of row `rows[n]`, the `back[n]`-th from its row's end (1: the last).
    """

    of: NDArray[np.int64]
    counts: NDArray[np.int64]
    rows: Int[Tensor, "token"]
    back: Int[Tensor, "token"]

    @property
    def ends(self) -> Int[Tensor, "row"]:
        """Which token is the last of each row."""
        return torch.from_numpy(self.counts.cumsum() - 1)


class Unread:
    """The last `counts[r]` tokens of row r, and what the reader taps there."""

    def __init__(self, tapped: Float[Tensor, "0 size"]) -> None:
        self.counts = np.zeros(0, dtype=np.int64)
        self._tokens = torch.zeros(0, ROOM, dtype=torch.long, device=tapped.device)
        self._tapped = tapped.new_zeros(0, ROOM, tapped.shape[1])
        self._end = 0

    def join(self, count: int) -> None:
        """Append rows that are read."""
        self.counts = np.concatenate((self.counts, np.zeros(count, dtype=np.int64)))
        self._reserve()

    def _reserve(self) -> None:
        more = len(self.counts) - self._tokens.shape[0]
        if more > 0:
            self._tokens = functional.pad(self._tokens, (0, 0, 0, more))
            self._tapped = functional.pad(self._tapped, (0, 0, 0, 0, 0, more))

    def take(self, rows: Int[Tensor, "next"]) -> None:
        """Go on with the given rows, a row as often as it is named."""
        self.counts = self.counts[rows.cpu().numpy()]
        held = slice(self._end - int(self.counts.max(initial=0)), self._end)
        self._reserve()
        for slab in (self._tokens, self._tapped):
            slab[: len(rows), held] = slab[rows, held]

    def add(
        self,
        tokens: Int[Tensor, "row"],
        tapped: Float[Tensor, "row size"],
        is_read: NDArray[np.bool_] | None,
    ) -> None:
        """Note one token of every row; those of which `is_read` are read, and all before them."""
        if self._end == self._tokens.shape[1]:
            self._make_room()
        self._tokens[: len(self.counts), self._end] = tokens
        self._tapped[: len(self.counts), self._end] = tapped
        self._end += 1
        self.counts += 1
        if is_read is not None:
            self.counts[is_read] = 0

    def _make_room(self) -> None:
        """Drop what every row has read, and make room where that is little."""
        held = int(self.counts.max(initial=0))
        room = max(ROOM, 2 * held)
        first, pad = self._end - held, room - held
        self._tokens = functional.pad(self._tokens[:, first : self._end], (0, pad))
        self._tapped = functional.pad(self._tapped[:, first : self._end], (0, 0, 0, pad))
        self._end = held

    def of(self, is_asked: NDArray[np.bool_]) -> Stretches | None:
        """Return what is unread of the rows asked for; None where there is nothing."""
        of = np.flatnonzero(is_asked & (self.counts > 0))
        if not len(of):
            return None
        counts = self.counts[of]
        rows = np.repeat(of, counts)
        back = np.repeat(counts.cumsum(), counts) - np.arange(len(rows))
        device = self._tokens.device
        at = (torch.from_numpy(x).to(device) for x in (rows, back))
        return Stretches(of, counts, *at)

    def read(self, what: Stretches) -> tuple[Tensor, Tensor]:
        """Return tokens and tapped states of stretches, which count as read from now on."""
        self.counts[what.of] = 0
        columns = self._end - what.back
        return self._tokens[what.rows, columns], self._tapped[what.rows, columns]
