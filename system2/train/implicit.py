"""Train an implicit process verifier: attempts and their grades, and no label of any step.

Place in the flow: a trees file -> `Solution`s (`train.outcome`) -> `fit` -> an
`ImplicitVerifier`. The loss of an attempt is l log sigmoid(r) + (1 - l) log(1 - sigmoid(r)),
negated, of its reward r = beta * sum log pi / pi_ref (implicit PRM, arXiv 2412.01981, equation 6:
the cross-entropy variant, which needs no pairs). We differ from the paper in what is trained: see
`verify.implicit`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from system2.train.batches import planned_batches
from system2.train.loop import StepReport, fit, passes_over
from system2.train.outcome import Solution, check_both_kinds, outcome_batch
from system2.train.process import platt
from system2.verify.folders import policy_print
from system2.verify.implicit import ImplicitVerifier, described
from system2.verify.process import Calibration


@dataclass(frozen=True, slots=True)
class ImplicitFit:
    """How to train an implicit verifier.

    A step is `micro_batches` of at most `max_tokens` padded tokens each; `mixed_precision`
    is "no" or "bf16".
    """

    epochs: float = 2.0
    learning_rate: float = 1e-5
    max_tokens: int = 4096
    micro_batches: int = 4
    weight_decay: float = 0.0
    mixed_precision: str = "no"
    seed: int = 42


@dataclass(frozen=True, slots=True)
class GradedBatch:
    """Right-padded attempts; `is_judged[b, t]` says that token t is the attempt's own.

    A target is an attempt, whatever its length; `is_right[b]` is its grade.
    """

    tokens: Int[Tensor, "batch time"]
    is_judged: Bool[Tensor, "batch time"]
    is_right: Bool[Tensor, "batch"]

    @property
    def num_targets(self) -> int:
        """How many attempts there are."""
        return len(self.is_right)

    def to(self, device: torch.device) -> "GradedBatch":
        """Return the batch with its tensors on a device."""
        return GradedBatch(
            self.tokens.to(device), self.is_judged.to(device), self.is_right.to(device)
        )


def graded_batch(solutions: Sequence[Solution]) -> GradedBatch:
    """Pad attempts on the right into one batch."""
    padded = outcome_batch(solutions)
    return GradedBatch(padded.text.tokens, padded.text.is_target, padded.is_right)


def implicit_loss(verifier: ImplicitVerifier, batch: GradedBatch) -> Float[Tensor, ""]:
    """Return the cross-entropy (nats) of the grades under sigmoid(r), summed over attempts."""
    rewards = verifier(batch.tokens, batch.is_judged).sum(dim=1)
    return functional.binary_cross_entropy_with_logits(
        rewards, batch.is_right.to(rewards), reduction="sum"
    )


def calibrated(verifier: ImplicitVerifier, solutions: Sequence[Solution]) -> Calibration:
    """Return the calibration that fits held-out attempts; none fitted where there is none."""
    if not solutions:
        return Calibration()
    rewards_S = verifier.rewards([s.tokens for s in solutions], [s.start for s in solutions])
    rewards = torch.tensor([math.fsum(rewards) for rewards in rewards_S])
    return platt(rewards, torch.tensor([float(s.is_right) for s in solutions]))


def fit_implicit_verifier(
    verifier: ImplicitVerifier,
    solutions: Sequence[Solution],
    config: ImplicitFit,
    *,
    folder: Path | None = None,
) -> tuple[int, Iterator[StepReport]]:
    """Return the number of steps, and the steps that train a fresh verifier (lazily).

    The policy is in float32, and stays as it is. With `folder`, training takes up from its
    last checkpoint. Raises: `UserError` where there are not both right and wrong attempts,
    or training diverges.
    """
    check_both_kinds([solution.is_right for solution in solutions])
    batches, per_epoch = planned_batches(
        solutions,
        lambda solution: len(solution.tokens),
        graded_batch,
        max_tokens=config.max_tokens,
        seed=config.seed,
        per_step=config.micro_batches,
    )
    how = passes_over(config, per_epoch)
    about = (config, described(verifier), policy_print(verifier.policy), solutions)
    reports = fit(verifier, batches, implicit_loss, how, folder=folder, about=about)
    return how.steps, reports
