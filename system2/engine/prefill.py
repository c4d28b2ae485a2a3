"""Run prompts that are about to be decoded: what is known of them is copied, the rest is run.

Place in the flow: `local` makes a `Prefill` of the prompts that it admits, advances it by as
many tokens as one forward may hold, between the steps of the rows under way, and has `session`
take the rows in when it is done. Rows lie side by side, ending in the same column. Tokens of
different prompts run through the layers without padding between them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from system2.core import Tokens
from system2.engine.attention import Attend, sight_until
from system2.engine.cache import Grid, Places
from system2.engine.prefixes import End, PrefixTree
from system2.engine.step import Layers, Once, Stack, Step


class Prefill:
    """Prompts on their way into a session.

    Row r of `cache` holds prompt r, ending in its last column; `hidden[r]` and `own[r]` are
    what decoding goes on from, valid once it is done. `num_computed` counts the positions run.
    """

    def __init__(
        self,
        layers: Layers,
        prompts: Sequence[Tokens],
        tree: PrefixTree | None = None,
    ) -> None:
        self.layers, self.prompts, self.tree = layers, prompts, tree
        self.stack = Stack(layers)
        self.cache = self.stack.cache
        self.width = max(map(len, prompts))
        self.cache.reserve(len(prompts), self.width)
        self.cache.num_rows = len(prompts)
        self.device = self.cache.own[0].device
        size = layers.model.config.hidden_size
        self.hidden = self.cache.own[0].new_zeros(len(prompts), size)
        self.own: Tensor | None = None
        self.num_computed = 0
        self._known = [self._recall(row, prompt) for row, prompt in enumerate(prompts)]
        self._todo = [r for r, prompt in enumerate(prompts) if self._known[r] < len(prompt)]

    def _recall(self, row: int, prompt: Tokens) -> int:
        """Copy what the tree knows of a prompt; return how many tokens need not be run."""
        if self.tree is None:
            return 0
        found = self.tree.match(prompt)
        at = self.width - len(prompt)
        for piece in found.pieces:
            length = piece[0].shape[-2]
            for slab, kept in zip(self.cache.own, piece, strict=True):
                slab[:, :, row, :, at : at + length] = kept
            at += length
        if found.length == len(prompt) and found.end is not None:
            self._finish(row, found.end)
            return found.length
        return min(found.length, len(prompt) - 1)  # the last token's state is needed

    def _finish(self, row: int, end: End) -> None:
        self.hidden[row] = end.hidden
        if end.own is not None:
            if self.own is None:
                self.own = end.own.new_zeros(len(self.prompts), *end.own.shape)
            self.own[row] = end.own

    @property
    def is_done(self) -> bool:
        """Whether every prompt has been run."""
        return not self._todo

    @torch.inference_mode()
    def advance(self, max_tokens: int) -> None:
        """Run at most so many more tokens."""
        chunk: list[tuple[int, int]] = []  # row, tokens to run
        while self._todo and max_tokens > 0:
            row = self._todo[0]
            count = min(max_tokens, len(self.prompts[row]) - self._known[row])
            chunk.append((row, count))
            max_tokens -= count
            if self._known[row] + count < len(self.prompts[row]):
                break
            del self._todo[0]
        if chunk:
            self._run(chunk)

    def _run(self, chunk: Sequence[tuple[int, int]]) -> None:
        rows = [row for row, _ in chunk]
        counts = [count for _, count in chunk]
        known = [self._known[row] for row in rows]
        flat = [
            token
            for row, start, count in zip(rows, known, counts, strict=True)
            for token in self.prompts[row][start : start + count]
        ]
        step = self._step(rows, known, counts)
        tokens = torch.tensor(flat, device=self.device)
        hidden, _, own = self.layers.forward(tokens, step)
        self.num_computed += len(flat)
        end = 0
        for row, start, count in zip(rows, known, counts, strict=True):
            end += count
            self._known[row] = start + count
            if self._known[row] == len(self.prompts[row]):
                state = End(
                    hidden[end - 1].clone(), own[end - 1].clone() if own is not None else None
                )
                self._finish(row, state)
                self._keep(row, state)

    def _step(self, rows: Sequence[int], known: Sequence[int], counts: Sequence[int]) -> Step:
        """Return where a chunk's tokens stand."""
        device, window = self.device, self.layers.model.config.sliding_window
        of, number = torch.tensor(rows, device=device), torch.tensor(counts, device=device)
        starts = torch.tensor([self.width - len(self.prompts[row]) for row in rows], device=device)
        row = torch.repeat_interleave(torch.arange(len(rows), device=device), number)
        rank = torch.arange(row.shape[0], device=device) - (number.cumsum(0) - number)[row]
        begin = torch.tensor(known, device=device)
        positions = begin[row] + rank
        columns, firsts = starts[row] + positions, starts[row]
        if window is not None:
            firsts = torch.maximum(firsts, columns - window + 1)

        def attends() -> Sequence[Attend]:
            places = torch.arange(max(counts), device=device)
            ends = torch.where(places < number[:, None], (starts + begin)[:, None] + places, -1)
            seen = sight_until(ends, starts, self.width, window, self.cache.own[0].dtype)
            grid = Grid(of, row, columns, rank, max(counts), seen)
            return self.cache.grid_attends(grid)

        is_last = torch.zeros(positions.shape, dtype=torch.bool, device=device)
        is_last[number.cumsum(0) - 1] = True
        places = Once(lambda: Places(of[row], columns, firsts, columns, needed=is_last))
        table = self.layers.turns(self.width)
        return Step(positions, table, self.stack, places, Once(attends))

    def _keep(self, row: int, end: End) -> None:
        if self.tree is not None:
            prompt = self.prompts[row]
            places = slice(self.width - len(prompt), self.width)
            self.tree.insert(prompt, [x[:, :, row, :, places] for x in self.cache.own], end)
