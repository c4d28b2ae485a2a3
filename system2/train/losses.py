"""Losses, as pure functions of a model and a batch: each is a SUM over the batch's targets.

`fit` divides by the number of real targets of the whole step, so padding never weighs
(LLM2's reference averages over padding: 0.371 instead of ln 2 for all-zero scores).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from system2.engine.model import LanguageModel
from system2.train.batches import TextBatch


def next_token_loss(model: LanguageModel, batch: TextBatch) -> Float[Tensor, ""]:
    """Return the summed cross-entropy (nats) of the target tokens given what precedes them.

    Logits are made at the target positions only.
    """
    hidden = model.hidden(batch.tokens)
    wanted = batch.is_target[:, 1:]
    logits = model.logits(hidden[:, :-1][wanted])
    return functional.cross_entropy(logits.float(), batch.tokens[:, 1:][wanted], reduction="sum")


def pairwise_loss(
    chosen: Float[Tensor, "pair"],
    rejected: Float[Tensor, "pair"],
    weights: Float[Tensor, "pair"] | None = None,
) -> Float[Tensor, ""]:
    """Return LLM2's loss, summed: -log sigmoid(s+ - s-) a pair (nats), optionally weighted.

    >>> import torch
    >>> f"{pairwise_loss(torch.zeros(4), torch.zeros(4)) / 4:.4f}"  # ln 2, whatever the padding
    '0.6931'
    """
    losses = -functional.logsigmoid(chosen - rejected)
    return (losses if weights is None else losses * weights).sum()


def outcome_loss(
    logits: Float[Tensor, "batch time"],
    is_target: Bool[Tensor, "batch time"],
    is_right: Bool[Tensor, "batch"],
) -> Float[Tensor, ""]:
    """Return the summed cross-entropy (nats) of a solution's outcome at each of its tokens.

    Cobbe et al. 2021 (arXiv 2110.14168, section 4.2): every token of a solution foretells
    whether it ends right, not the last alone.
    """
    outcomes = is_right[:, None].expand_as(logits)
    return functional.binary_cross_entropy_with_logits(
        logits[is_target], outcomes[is_target].to(logits), reduction="sum"
    )


def value_loss(
    logits: Float[Tensor, "place"], targets: Float[Tensor, "place"]
) -> Float[Tensor, ""]:
    """Return the summed cross-entropy (nats) of values against targets in [0, 1].

    A target may be a share: the gradient is then that of all its rollouts' outcomes, averaged.
    """
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum")


def expectile_loss(
    predicted: Float[Tensor, "place"],
    targets: Float[Tensor, "place"],
    tau: float,
    weights: Float[Tensor, "place"] | None = None,
) -> Float[Tensor, ""]:
    """Return the summed asymmetric squared error, optionally weighted.

    2 |tau - 1(u < 0)| u^2 with u = target - prediction (IQL, arXiv 2110.06169, equation 3,
    doubled so that `tau` = 0.5 is the plain squared error). `tau` in (0, 1): above 0.5 falling
    short costs more, and the least loss is reached nearer to the highest target.

    >>> import torch
    >>> float(expectile_loss(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0]), 0.9))
    0.5
    """
    errors = targets - predicted
    slopes = 2 * torch.where(errors < 0, 1 - tau, tau)
    losses = slopes * errors**2
    return (losses if weights is None else losses * weights).sum()
