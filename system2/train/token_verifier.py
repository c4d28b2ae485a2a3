"""Train a token verifier on pairs, with the paper's hyperparameters as defaults.

LLM2, arXiv 2412.20372, appendix: learning rate 2e-5 cosine, warm-up 0.1, 2 epochs, batch 128,
full fine-tuning, seed 42.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from system2.engine.model import LanguageModel
from system2.synthesise.pairs import PairRow
from system2.train.loop import StepReport, fit, passes_over
from system2.train.pairs import Weighting, pair_batches, verifier_loss
from system2.verify.folders import policy_print
from system2.verify.token import Layout, TokenVerifier


@dataclass(frozen=True, slots=True)
class VerifierFit:
    """How to train a token verifier.

    `num_adapted` of the policy's top layers get trained copies (`separate`: all).
    A step is `micro_batches` of at most `max_tokens` padded tokens each; `mixed_precision`
    is "no" or "bf16".
    """

    layout: Layout = "separate"
    num_adapted: int = 1
    epochs: float = 2.0
    learning_rate: float = 2e-5
    max_tokens: int = 4096
    micro_batches: int = 4
    weighting: Weighting = "equal"
    weight_decay: float = 0.0
    final_rate: float = 0.0
    mixed_precision: str = "no"
    seed: int = 42


def fit_token_verifier(
    policy: LanguageModel,
    rows: Sequence[PairRow],
    config: VerifierFit,
    *,
    folder: Path | None = None,
) -> tuple[TokenVerifier, int, Iterator[StepReport]]:
    """Return a fresh verifier, the number of steps, and the steps that train it (lazily).

    The policy is in float32, and stays as it is. With `folder`, training takes up from its
    last checkpoint. Raises: `UserError` where there is no pair, or training diverges.
    """
    batches, per_epoch = pair_batches(
        rows,
        max_tokens=config.max_tokens,
        seed=config.seed,
        per_step=config.micro_batches,
        weighting=config.weighting,
    )
    verifier = TokenVerifier(policy, config.layout, config.num_adapted)
    how = passes_over(config, per_epoch, final_rate=config.final_rate)
    about = (config, policy_print(policy), rows)
    reports = fit(verifier, batches, verifier_loss, how, folder=folder, about=about)
    return verifier, how.steps, reports
