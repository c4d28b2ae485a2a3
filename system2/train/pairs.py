"""Pairs of tokens to packed batches, and the fit of a token verifier on them.

All negatives of a text are packed after it in ONE sequence (LLM2, arXiv 2412.20372, section
3.2): each sees only its true prefix and itself and takes the position of the token it
replaces; the positive's score is read in place. So a text of n tokens with m pairs costs
n + m positions, not m texts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from system2.core import UserError
from system2.engine.attention import Window
from system2.synthesise.pairs import PairRow
from system2.train.batches import planned_batches
from system2.train.losses import pairwise_loss
from system2.verify.token import TokenVerifier

Weighting: TypeAlias = Literal["equal", "gap"]
"""`equal`: every pair weighs 1; `gap`: the difference of its tokens' qualities."""


@dataclass(frozen=True, slots=True)
class PairBatch:
    """Packed texts with their pairs.

    `chosen[j]` and `rejected[j]` are (row, column of the token, column of the last token of
    its prefix); `weights` in [0, 1]. A loss is divided by the number of pairs, `num_targets`,
    however they weigh.
    """

    tokens: Int[Tensor, "batch time"]
    window: Window
    chosen: Int[Tensor, "pair place"]
    rejected: Int[Tensor, "pair place"]
    weights: Float[Tensor, "pair"]
    num_targets: int

    def to(self, device: torch.device) -> "PairBatch":
        """Return the batch with its tensors on a device."""
        return PairBatch(
            self.tokens.to(device),
            self.window.to(device),
            self.chosen.to(device),
            self.rejected.to(device),
            self.weights.to(device),
            self.num_targets,
        )


def pack(rows: Sequence[PairRow], weighting: Weighting = "equal") -> PairBatch:
    """Pack rows into one batch."""
    width = max(len(row.tokens) + len(row.pairs) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    positions = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.eye(width, dtype=torch.bool).repeat(len(rows), 1, 1)
    chosen: list[tuple[int, int, int]] = []
    rejected: list[tuple[int, int, int]] = []
    weights: list[float] = []
    for r, row in enumerate(rows):
        length = len(row.tokens)
        tokens[r, :length] = torch.tensor(row.tokens)
        positions[r, :length] = torch.arange(length)
        mask[r, :length, :length] = torch.ones(length, length, dtype=torch.bool).tril()
        for column, pair in enumerate(row.pairs, start=length):
            tokens[r, column], positions[r, column] = pair.rejected, pair.position
            mask[r, column, : pair.position] = True
            chosen.append((r, pair.position, pair.position - 1))
            rejected.append((r, column, pair.position - 1))
            weights.append(_weight(pair.chosen_quality, pair.rejected_quality, weighting))
    places = [torch.tensor(p, dtype=torch.long).reshape(-1, 3) for p in (chosen, rejected)]
    window = Window(positions, mask)
    return PairBatch(tokens, window, places[0], places[1], torch.tensor(weights), len(chosen))


def _weight(chosen: float | None, rejected: float | None, weighting: Weighting) -> float:
    """Return a pair's weight; a reference whose quality was not measured counts as 1."""
    if weighting == "equal":
        return 1.0
    if rejected is None:
        raise UserError("weighting by gap needs pairs with qualities (strategy rollout)")
    return max(0.0, (1.0 if chosen is None else chosen) - rejected)


def verifier_loss(verifier: TokenVerifier, batch: PairBatch) -> Float[Tensor, ""]:
    """Return LLM2's pairwise loss, summed over the batch's pairs (nats)."""
    chosen, rejected = verifier(batch.tokens, batch.window, batch.chosen, batch.rejected)
    return pairwise_loss(chosen, rejected, batch.weights)


def pair_batches(
    rows: Sequence[PairRow],
    *,
    max_tokens: int,
    seed: int,
    per_step: int = 1,
    weighting: Weighting = "equal",
) -> tuple[Callable[[int], list[PairBatch]], int]:
    """Return the batches of each step, and how many steps make an epoch.

    Rows without pairs are left out. Raises: `UserError` where none has any.
    """
    useful = [row for row in rows if row.pairs]
    if not useful:
        raise UserError("there is no pair to train on; explore more problems")
    return planned_batches(
        useful,
        lambda row: len(row.tokens) + len(row.pairs),
        lambda some: pack(some, weighting),
        max_tokens=max_tokens,
        seed=seed,
        per_step=per_step,
    )


@torch.no_grad()
def pair_accuracy(verifier: TokenVerifier, rows: Sequence[PairRow]) -> tuple[float, float]:
    """Return (share of pairs in the right order, mean loss in nats) over rows.

    Equal scores count as half a pair in order. Raises: `UserError` where there is no pair.
    """
    useful = [row for row in rows if row.pairs]
    if not useful:
        raise UserError("there is no pair to measure a verifier on")
    device = verifier.top.head.weight.device
    total, right, loss = 0, 0.0, 0.0
    for start in range(0, len(useful), 16):
        batch = pack(useful[start : start + 16]).to(device)
        chosen, rejected = verifier(batch.tokens, batch.window, batch.chosen, batch.rejected)
        right += float(((chosen - rejected).sign() + 1).sum()) / 2
        loss += float(pairwise_loss(chosen, rejected))
        total += batch.num_targets
    return right / total, loss / total
