"""What a lazy reader has still to read: tokens or tapped states, row by row.

Place in the flow: `session` notes every token that it runs, and hands over what a row's reader
has missed when it is asked for.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

ROOM = 32
"""Places a row that there is room for at first."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """The last tokens of some rows: `counts[i]` of row `of[i]`, one stretch after another.

    Token n is of row `rows[n]`, the `back[n]`-th from its row's end (1: the last).
    """

    of: NDArray[np.int64]
    counts: NDArray[np.int64]
    rows: NDArray[np.int64]
    back: NDArray[np.int64]

    @property
    def lasts(self) -> NDArray[np.int64]:
        """Return which token is the last of each row."""
        return self.counts.cumsum() - 1


class Unread:
    """What a reader is given (tokens, or tapped states) at the last `counts[r]` places of row r."""

    def __init__(self) -> None:
        self.counts = np.zeros(0, dtype=np.int64)
        self._given: Tensor | None = None  # [row place *rest], up to `_end`
        self._end = 0

    def join(self, count: int) -> None:
        """Append rows that are read."""
        self.counts = np.concatenate((self.counts, np.zeros(count, dtype=np.int64)))
        self._make_room()

    def take(self, rows: Int[Tensor, "next"]) -> None:
        """Go on with the given rows, a row as often as it is named."""
        self.counts = self.counts[rows.cpu().numpy()]
        if self._given is not None:
            self._given = self._given[rows]
            self._make_room()

    def add(
        self, given: Shaped[Tensor, "row *rest"], is_read: NDArray[np.bool_] | None = None
    ) -> None:
        """Note one token of every row; those of which `is_read` are read, and all before them."""
        if self._given is None:
            self._given = given.new_zeros(len(given), ROOM, *given.shape[1:])
        elif self._end == self._given.shape[1]:
            self._make_room()
        _ = self._given[:, self._end].copy_(given)
        self._end += 1
        self.counts += 1
        if is_read is not None:
            self.counts[is_read] = 0

    def _make_room(self) -> None:
        """Drop what every row has read, and make room for more rows and places."""
        if self._given is None:
            return
        held = int(self.counts.max(initial=0))
        known = self._given[:, self._end - held : self._end]
        room = max(ROOM, 2 * held)
        self._given = known.new_zeros(len(self.counts), room, *known.shape[2:])
        self._given[: len(known), :held] = known
        self._end = held

    def of(self, is_asked: NDArray[np.bool_]) -> Stretches | None:
        """Return what is unread of the rows asked for; None where there is nothing."""
        of = np.flatnonzero(is_asked & (self.counts > 0))
        if not len(of):
            return None
        counts = self.counts[of]
        rows = np.repeat(of, counts)
        back = np.repeat(counts.cumsum(), counts) - np.arange(len(rows))
        return Stretches(of, counts, rows, back)

    def read(self, what: Stretches) -> Shaped[Tensor, "token *rest"]:
        """Return what is given of stretches, which count as read from now on."""
        assert self._given is not None, "something was added"
        self.counts[what.of] = 0
        places = what.rows * self._given.shape[1] + (self._end - what.back)
        flat = self._given.flatten(0, 1)
        return flat.index_select(0, torch.from_numpy(places).to(flat.device))
