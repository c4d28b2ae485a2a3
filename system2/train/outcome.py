"""Train an outcome verifier: sampled solutions and their grades to a value of any solution.

Place in the flow: the rows of a trees file (or of `solve`, on the spot) -> `Solution`s -> `fit`
-> a verifier that scores attempts for best-of-N. Cobbe et al. 2021 (arXiv 2110.14168): the
policy's own attempts at its training problems, a scalar head, every token trained. We differ in
that the policy stays frozen and only copies of its top layers are trained, with no
language-model loss beside.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from system2.core import Tokens, UserError
from system2.engine.model import LanguageModel
from system2.engine.tokenizer import Tokenizer
from system2.store import problem_of
from system2.train.batches import Example, TextBatch, planned_batches, text_batch
from system2.train.loop import StepReport, fit, passes_over
from system2.train.losses import outcome_loss
from system2.verify.folders import policy_print
from system2.verify.outcome import OutcomeVerifier


@dataclass(frozen=True, slots=True)
class Solution:
    """A finished attempt: its tokens, of which the first `start` are the prompt; its grade."""

    tokens: Tokens
    start: int
    is_right: bool


@dataclass(frozen=True, slots=True)
class OutcomeBatch:
    """Right-padded solutions; `is_right[b]` is what every token of row b foretells."""

    text: TextBatch
    is_right: Bool[Tensor, "batch"]

    @property
    def num_targets(self) -> int:
        """How many tokens foretell."""
        return self.text.num_targets

    def to(self, device: torch.device) -> "OutcomeBatch":
        """Return the batch with its tensors on a device."""
        return OutcomeBatch(self.text.to(device), self.is_right.to(device))


@dataclass(frozen=True, slots=True)
class OutcomeFit:
    """How to train an outcome verifier.

    `num_adapted` of the policy's top layers get trained copies. A step is `micro_batches` of
    at most `max_tokens` padded tokens each; `mixed_precision` is "no" or "bf16".
    """

    num_adapted: int = 1
    epochs: float = 2.0
    learning_rate: float = 1e-5
    max_tokens: int = 4096
    micro_batches: int = 4
    weight_decay: float = 0.0
    mixed_precision: str = "no"
    seed: int = 42


def solutions_of(
    rows: Iterable[Mapping[str, Any]], tokenizer: Tokenizer, where: str = "trees"
) -> Iterator[Solution]:
    """Yield the finished attempts of trees' rows that have a grade, true or false.

    `where` names the rows in errors. Raises: `UserError` naming a row that is no tree's, or
    whose tokens are not this tokenizer's.
    """
    for number, row in enumerate(rows, start=1):
        at = f"{where}, tree {number}"
        try:
            prompt = tokenizer.prompt(problem_of(row["problem"], at).prompt)
            yield from _solutions(row["nodes"], prompt, tokenizer, at)
        except (AttributeError, KeyError, TypeError, IndexError, OverflowError) as error:
            raise UserError(f"{at}: not a tree's row ({error!r})") from None


def _solutions(
    nodes: Sequence[Mapping[str, Any]], prompt: Tokens, tokenizer: Tokenizer, at: str
) -> Iterator[Solution]:
    """Yield one tree's attempts; a parent comes before its children."""
    prefixes: list[Tokens] = []
    for node in nodes:
        added: Tokens = tuple(node["tokens"])
        if tokenizer.decode(added) != node["text"]:
            raise UserError(
                f"{at}: its tokens do not read as its text: sampled with another tokenizer"
            )
        parent: int | None = node["parent"]
        prefixes.append((prompt if parent is None else prefixes[parent]) + added)
        if node["terminal"] and isinstance(node.get("grade"), bool):
            yield Solution(prefixes[-1], len(prompt), node["grade"])


def outcome_batch(solutions: Sequence[Solution]) -> OutcomeBatch:
    """Pad solutions on the right into one batch."""
    text = text_batch([Example(solution.tokens, solution.start) for solution in solutions])
    return OutcomeBatch(text, torch.tensor([solution.is_right for solution in solutions]))


def verifier_loss(verifier: OutcomeVerifier, batch: OutcomeBatch) -> Float[Tensor, ""]:
    """Return the outcome loss of a batch, summed over the solutions' tokens (nats)."""
    return outcome_loss(verifier(batch.text.tokens), batch.text.is_target, batch.is_right)


def check_both_kinds(grades: Sequence[bool]) -> None:
    """Raise `UserError` unless there are both right and wrong attempts to learn from."""
    num_right = sum(grades)
    if not 0 < num_right < len(grades):
        raise UserError(
            f"{num_right} of {len(grades)} graded attempts are right; both kinds are needed: "
            "sample more (system2 solve --search sample --samples 16)"
        )


def fit_outcome_verifier(
    policy: LanguageModel,
    solutions: Sequence[Solution],
    config: OutcomeFit,
    *,
    folder: Path | None = None,
) -> tuple[OutcomeVerifier, int, Iterator[StepReport]]:
    """Return a fresh verifier, the number of steps, and the steps that train it (lazily).

    The policy is in float32, and stays as it is. With `folder`, training takes up from its
    last checkpoint. Raises: `UserError` where there are not both right and wrong solutions,
    or training diverges.
    """
    check_both_kinds([solution.is_right for solution in solutions])
    batches, per_epoch = planned_batches(
        solutions,
        lambda solution: len(solution.tokens),
        outcome_batch,
        max_tokens=config.max_tokens,
        seed=config.seed,
        per_step=config.micro_batches,
    )
    verifier = OutcomeVerifier(policy, config.num_adapted)
    how = passes_over(config, per_epoch)
    about = (config, policy_print(policy), solutions)
    reports = fit(verifier, batches, verifier_loss, how, folder=folder, about=about)
    return verifier, how.steps, reports
