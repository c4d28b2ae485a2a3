"""Train a generative verifier: next-token prediction of Yes and No, as in fine-tuning.

Place in the flow: a trees file, or labels of steps -> `Judged` prefixes -> `fit` with
`next_token_loss` -> a `GenerativeVerifier`. Source: GenRM (arXiv 2408.15240, section 3.1:
verification is fine-tuning on the verdict's token). We differ: steps may be judged, too (a
prefix of value v is Yes with probability v, drawn once by its text, which gives the
cross-entropy against v in the mean), and right and wrong keep their shares, so that the
probability means what it says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from system2.core import Problem, UserError, derive_seed
from system2.synthesise.searched import Searched
from system2.synthesise.step_values import LabelledSolution
from system2.train.batches import Example, TextBatch
from system2.train.loop import StepReport, fit, passes_over
from system2.train.losses import next_token_loss
from system2.train.outcome import check_both_kinds
from system2.train.sft import example_batches
from system2.verify.folders import policy_print
from system2.verify.generative import GenerativeVerifier


@dataclass(frozen=True, slots=True)
class Judged:
    """A prefix of a solution (text, without the prompt), and what it is worth, in [0, 1]."""

    problem: Problem
    attempt: str
    value: float


@dataclass(frozen=True, slots=True)
class GenerativeFit:
    """How to train a generative verifier, whole.

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


def judged_attempts(search: Searched, verifier: GenerativeVerifier) -> Iterator[Judged]:
    """Yield the graded attempts of a search, each text once."""
    texts: set[str] = set()
    for node in search.attempts():
        text = verifier.tokenizer.decode(node.completion)
        if text not in texts:
            yield Judged(search.problem, text, float(bool(node.is_right)))
        texts.add(text)


def judged_steps(solution: LabelledSolution) -> Iterator[Judged]:
    """Yield the beginnings of a labelled solution, up to each step whose value is known."""
    text = ""
    for step, label in zip(solution.steps, solution.labels, strict=True):
        text += step
        if label.value is not None:
            yield Judged(solution.problem, text, label.value)


def verdict_examples(
    verifier: GenerativeVerifier, judged: Sequence[Judged], seed: int
) -> list[Example]:
    """Return the question of each prefix with its verdict, which alone is learned.

    The solved problems that the verifier shows are shown here, too.
    """
    neighbours = verifier.index.nearest(
        [one.problem for one in judged], verifier.judging.neighbours
    )
    examples: list[Example] = []
    for one, shown in zip(judged, neighbours, strict=True):
        asked = verifier.question(one.problem, one.attempt, shown)
        drawn = derive_seed("verdict", seed, one.problem.id, one.attempt) / 2**63
        verdict = verifier.reply.yes if drawn < one.value else verifier.reply.no
        tokens = (*asked, *verifier.reply.lead, verdict)
        examples.append(Example(tokens, len(asked)))
    return examples


def fit_generative_verifier(
    verifier: GenerativeVerifier,
    judged: Sequence[Judged],
    config: GenerativeFit,
    *,
    folder: Path | None = None,
) -> tuple[int, Iterator[StepReport]]:
    """Return the number of steps, and the steps that train the verifier's model (lazily).

    With `folder`, training takes up from its last checkpoint. Raises: `UserError` where there
    are not both right and wrong prefixes, where the verifier writes checks (there are none to
    learn from), or training diverges.
    """
    if verifier.judging.chains:
        raise UserError(
            "a verifier that writes checks has none here to learn from; train it with "
            "--chains 0 and let it write them afterwards"
        )
    examples = verdict_examples(verifier, judged, config.seed)
    check_both_kinds([example.tokens[-1] == verifier.reply.yes for example in examples])
    batches, per_epoch = example_batches(
        examples,
        verifier.tokenizer.pad,
        max_tokens=config.max_tokens,
        seed=config.seed,
        per_step=config.micro_batches,
    )
    how = passes_over(config, per_epoch)
    about = (config, policy_print(verifier.model), examples)
    return how.steps, fit(verifier, batches, _loss, how, folder=folder, about=about)


def _loss(verifier: GenerativeVerifier, batch: TextBatch) -> Float[Tensor, ""]:
    return next_token_loss(verifier.model, batch)
