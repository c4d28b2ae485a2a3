"""A batch of rows being decoded: one cache, one length a row, one forward for all.

Place in the flow: `local` schedules rows into a session; a `Guide` (LLM2's token verifiers,
contrastive decoding, or none) may keep layers of its own in the session's cache and change
the next token's logits. A candidate is a token tried at a row's next place; several may be
run at once, and the accepted one's keys and values stay.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from system2.core import Tokens
from system2.engine.cache import Cache, LayerCache, PromptView, Window
from system2.engine.model import LanguageModel

SLOTS_AT_ONCE = 32
"""Rows get room for new positions in steps of this many."""
DROP_AT = 8
"""Prompts without rows are dropped when they are an eighth of all."""


class Guide(Protocol):
    """What adjusts the next token's logits inside the engine's step.

    `tap` is the policy layer whose input the guide reads (the number of layers: the last
    layer's output, before the norm).
    """

    tap: int

    def cache_shapes(self) -> list[tuple[int, int]]:
        """Return (key heads, head size) of each layer that the guide keeps in the cache."""
        ...

    def read(
        self,
        session: "Session",
        tokens: Int[Tensor, "batch time"],
        tapped: Float[Tensor, "batch time size"],
        window: Window,
    ) -> Float[Tensor, "batch time own"] | None:
        """Run the guide's own layers over tokens; return what `adjust` needs of each."""
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


class Session:
    """Rows in a cache, what each goes on from, and how far it has come.

    Row r goes on from prompt `prompt_of[r]` and has `lengths[r]` tokens of its own. `hidden[r]`
    is the policy's last hidden state there, `own[r]` what the guide's `read` returned;
    `positions_computed` counts the positions run through the policy.
    """

    def __init__(self, model: LanguageModel, guide: Guide | None = None) -> None:
        config = model.config
        self.model, self.guide = model, guide
        self.device = model.model.norm.weight.device
        self.shapes = [(config.num_kv_heads, config.head_dim)] * config.num_layers
        self.num_policy_layers = config.num_layers
        if guide is not None:
            self.shapes = self.shapes + guide.cache_shapes()
        self.cache = self._new_cache(0, 0)
        self.prompt_lengths = torch.zeros(0, dtype=torch.long, device=self.device)
        self.prompt_of: Tensor = self.prompt_lengths
        self.lengths: Tensor = self.prompt_lengths
        self.hidden = torch.zeros(0, config.hidden_size, device=self.device)
        self.own: Tensor | None = None
        self.positions_computed = 0

    def _new_cache(self, rows: int, slots: int) -> Cache:
        dtype = self.model.model.norm.weight.dtype
        return Cache(self.shapes, rows=rows, slots=slots, dtype=dtype, device=self.device)

    @property
    def num_rows(self) -> int:
        """How many rows are being decoded."""
        return self.lengths.shape[0]

    def admit(self, prompts: Sequence[Tokens], copies: Sequence[int]) -> None:
        """Prefill prompts together, each once, and append `copies[i]` rows of prompt i."""
        new = Session(self.model, self.guide)
        hidden, own = new.prefill(prompts)
        counts = torch.tensor(copies, device=self.device)
        new.prompt_of = torch.repeat_interleave(
            torch.arange(len(prompts), device=self.device), counts
        )
        new.cache.fan_out(new.prompt_of.shape[0])
        new.lengths = torch.zeros_like(new.prompt_of)
        new.hidden = hidden[new.prompt_of]
        new.own = own[new.prompt_of] if own is not None else None
        self._join(new)

    def _join(self, new: "Session") -> None:
        """Append another session's prompts and rows."""
        computed = self.positions_computed + new.positions_computed
        if self.num_rows == 0:
            self.__dict__.update(new.__dict__)
        else:
            self.cache.join(new.cache)
            self.prompt_of = torch.cat(
                (self.prompt_of, new.prompt_of + self.prompt_lengths.shape[0])
            )
            self.prompt_lengths = torch.cat((self.prompt_lengths, new.prompt_lengths))
            self.lengths = torch.cat((self.lengths, new.lengths))
            self.hidden = torch.cat((self.hidden, new.hidden))
            if self.own is not None and new.own is not None:
                self.own = torch.cat((self.own, new.own))
        self.positions_computed = computed

    def prefill(self, prompts: Sequence[Tokens]) -> tuple[Tensor, Tensor | None]:
        """Run right-padded prompts into a fresh cache; return hidden and own at their ends."""
        count, width = len(prompts), max(map(len, prompts))
        tokens = torch.zeros(count, width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            tokens[row, : len(prompt)] = torch.tensor(prompt)
        self.prompt_lengths = torch.tensor([len(p) for p in prompts], device=self.device)
        self.cache = self._new_cache(count, width)
        slots = torch.arange(width, device=self.device)[None].expand(count, width)
        hidden, own = self.run(tokens.to(self.device), Window(slots, None, slots))
        ends = (torch.arange(count, device=self.device), self.prompt_lengths - 1)
        self.positions_computed += int(self.prompt_lengths.sum())
        return hidden[ends], own[ends] if own is not None else None

    def take(self, rows: Int[Tensor, "row"]) -> None:
        """Go on with the given rows, in that order, a row as often as it is named.

        What stays in its place costs nothing. Prompts without a row are dropped once they
        are an eighth of all: dropping copies the others.
        """
        if torch.equal(rows, torch.arange(self.num_rows, device=self.device)):
            return
        self.cache.take(rows)
        self.lengths, self.hidden = self.lengths[rows], self.hidden[rows]
        if self.own is not None:
            self.own = self.own[rows]
        self.prompt_of = self.prompt_of[rows]
        is_used = torch.bincount(self.prompt_of, minlength=self.prompt_lengths.shape[0]) > 0
        used = is_used.nonzero()[:, 0]
        if (is_used.shape[0] - used.shape[0]) * DROP_AT > is_used.shape[0]:
            self.prompt_of = (is_used.cumsum(0) - 1)[self.prompt_of]
            self.cache.take_prompts(used)
            self.prompt_lengths = self.prompt_lengths[used]

    def clear(self) -> None:
        """Drop all rows."""
        self.take(torch.zeros(0, dtype=torch.long, device=self.device))

    def run(
        self, tokens: Int[Tensor, "batch time"], window: Window, *, is_read: bool = True
    ) -> tuple[Float[Tensor, "batch time size"], Float[Tensor, "batch time own"] | None]:
        """Run the policy, and the guide's own layers, over tokens at a window."""
        model, top = self.model, self.num_policy_layers
        tap = self.guide.tap if self.guide is not None else top
        caches = self.cache.layers
        tapped = model.run_layers(model.model.embed_tokens(tokens), 0, tap, window, caches[:tap])
        x = model.run_layers(tapped, tap, top, window, caches[tap:top]) if tap < top else tapped
        own = None
        if self.guide is not None and is_read:
            own = self.guide.read(self, tokens, tapped, window)
        return model.model.norm(x), own

    @property
    def guide_caches(self) -> list[LayerCache]:
        """The cache's layers that belong to the guide."""
        return self.cache.layers[self.num_policy_layers :]

    def next_window(self) -> Window:
        """Return where one more token of every row stands."""
        num_keys = int(self.lengths.max()) + 1
        self.cache.reserve(-(-num_keys // SLOTS_AT_ONCE) * SLOTS_AT_ONCE)
        keys = torch.arange(num_keys, device=self.device)
        mask = keys[None, None, :] <= self.lengths[:, None, None]
        positions = (self.prompt_lengths[self.prompt_of] + self.lengths)[:, None]
        return Window(positions, mask, self.lengths[:, None], None, self._view(self.prompt_of))

    def candidate_window(
        self, rows: Int[Tensor, "candidate"], ranks: Int[Tensor, "candidate"]
    ) -> Window:
        """Return where candidates stand: number `ranks[n]` of its row, for the row's next place.

        A candidate sees its row's past and itself, not its rivals.
        """
        lengths = self.lengths[rows]
        slots = lengths + ranks
        num_keys = int(slots.max()) + 1
        self.cache.reserve(-(-num_keys // SLOTS_AT_ONCE) * SLOTS_AT_ONCE)
        keys = torch.arange(num_keys, device=self.device)
        mask = (keys < lengths[:, None]) | (keys == slots[:, None])
        prompts = self.prompt_of[rows]
        positions = (self.prompt_lengths[prompts] + lengths)[:, None]
        return Window(positions, mask[:, None], slots[:, None], rows, self._view(prompts))

    def _view(self, prompts: Int[Tensor, "batch"]) -> PromptView:
        """Return how batch entries see their prompts."""
        counts = torch.bincount(prompts, minlength=self.prompt_lengths.shape[0])
        starts = counts.cumsum(0) - counts
        order, rank = prompts.argsort(stable=True), torch.empty_like(prompts)
        rank[order] = torch.arange(prompts.shape[0], device=self.device) - starts[prompts[order]]
        places = torch.arange(self.cache.layers[0].prompt_key.shape[2], device=self.device)
        mask = places[None, None, :] < self.prompt_lengths[:, None, None]
        return PromptView(prompts, rank, int(counts.max()), mask)

    def append(self, chosen: Int[Tensor, "batch"], *, is_read: bool = True) -> None:
        """Run one token of every row and go on from it.

        `is_read` False: the guide's layers hold this token already.
        """
        hidden, own = self.run(chosen[:, None], self.next_window(), is_read=is_read)
        self.hidden, self.own = hidden[:, 0], own[:, 0] if own is not None else None
        self.lengths = self.lengths + 1
        self.positions_computed += self.num_rows

    def extend(self, rows: Int[Tensor, "next"], chosen: Int[Tensor, "next"]) -> None:
        """Go on from row `rows[i]` with token `chosen[i]`, run through policy and guide."""
        self.take(rows)
        self.append(chosen)

    def accept(
        self,
        ranks: Int[Tensor, "batch"],
        hidden: Float[Tensor, "batch size"] | None = None,
    ) -> None:
        """Keep, of each row's candidates, number `ranks[r]`: its keys move to the row's end.

        With `hidden`, the candidates ran through the policy too: rows go on from there.
        """
        own_only = hidden is None
        first = self.num_policy_layers if own_only else 0
        self.cache.move(self.lengths + ranks, self.lengths, first_layer=first)
        if hidden is not None:
            self.hidden = hidden
            self.lengths = self.lengths + 1
