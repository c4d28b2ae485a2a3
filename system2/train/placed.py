"""Values to learn at places of texts: what value verifiers and the meta-critic train on.

Place in the flow: targets of prefixes -> `PlacedText`s -> batches -> `fit`. Prefixes of one text
are learned in one forward over it; a text that several prefixes share is run once.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from system2.core import Problem, Tokens, derive_seed
from system2.train.batches import Example, text_batch
from system2.train.process import HELD_OUT, platt
from system2.verify.process import Calibration, ProcessVerifier


@dataclass(frozen=True, slots=True)
class PlacedText:
    """A text and what its prefixes are worth.

    `targets[i]` in [0, 1] is a value of the prefix that ends with the token at `places[i]`,
    and weighs `weights[i]`; the targets of one place weigh 1 together.
    """

    tokens: Tokens
    places: tuple[int, ...]
    targets: tuple[float, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PlacedBatch:
    """Right-padded texts; target i stands at row `rows[i]`, column `columns[i]`."""

    tokens: Int[Tensor, "batch time"]
    rows: Int[Tensor, "place"]
    columns: Int[Tensor, "place"]
    targets: Float[Tensor, "place"]
    weights: Float[Tensor, "place"]
    num_targets: int

    def to(self, device: torch.device) -> "PlacedBatch":
        """Return the batch with its tensors on a device."""
        return PlacedBatch(
            self.tokens.to(device),
            self.rows.to(device),
            self.columns.to(device),
            self.targets.to(device),
            self.weights.to(device),
            self.num_targets,
        )


def placed_batch(texts: Sequence[PlacedText]) -> PlacedBatch:
    """Pad texts on the right into one batch; its number of targets is that of its places."""
    rows = [row for row, text in enumerate(texts) for _ in text.places]
    columns = [place for text in texts for place in text.places]
    return PlacedBatch(
        tokens=text_batch([Example(text.tokens, 0) for text in texts]).tokens,
        rows=torch.tensor(rows, dtype=torch.long),
        columns=torch.tensor(columns, dtype=torch.long),
        targets=torch.tensor([target for text in texts for target in text.targets]),
        weights=torch.tensor([weight for text in texts for weight in text.weights]),
        num_targets=len(set(zip(rows, columns, strict=True))),
    )


def is_kept_out(problem: Problem) -> bool:
    """Say whether a problem is kept out of training, to calibrate on: the same as a PRM's."""
    return derive_seed("calibration", problem.prompt) % HELD_OUT == 0


def calibrated(verifier: ProcessVerifier, texts: Sequence[PlacedText]) -> Calibration:
    """Return the calibration that fits held-out texts; none fitted where there is no text.

    Several targets of one place count as their mean.
    """
    if not texts:
        return Calibration()
    targets: list[float] = []
    places: list[list[int]] = []
    for text in texts:
        of: defaultdict[int, list[float]] = defaultdict(list)
        for place, target, weight in zip(text.places, text.targets, text.weights, strict=True):
            of[place].append(weight * target)
        places.append(list(of))
        targets += [min(1.0, math.fsum(parts)) for parts in of.values()]
    logits = verifier.logits_at([text.tokens for text in texts], places)
    return platt(torch.cat(logits), torch.tensor(targets))
