"""Train a meta-critic: prefixes with the attempts that failed before them to their values.

Place in the flow: a trees file with several attempts a problem -> `critic_texts` -> `fit` -> a
`MetaCritic`. The attempts of a tree are taken in order, up to the first right one, as a search
goes on only while it has not found it: before the prefixes of attempt j stand attempts 1 to
j - 1, and the target is the share right of those attempts from j on that begin with the prefix.
What was tried is thus never counted in the target, and each problem meets each number of
failures once, so the critic learns P(right | prefix, tried and failed): after wrong attempts
of the same beginning a prefix is worth less. With `tried` "none" the same data make a plain
critic, to compare with. Source: Meta-CoT (arXiv 2501.04682,
section 7, figure 30), which gives no recipe: this one is ours.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor

from system2.core import Tokens, UserError, derive_seed
from system2.synthesise.searched import Found, Searched
from system2.train.batches import planned_batches
from system2.train.loop import StepReport, fit, passes_over
from system2.train.losses import value_loss
from system2.train.placed import PlacedBatch, PlacedText, placed_batch
from system2.verify.folders import policy_print
from system2.verify.meta_critic import MetaCritic, described, with_tried
from system2.verify.process import ProcessVerifier

Tried: TypeAlias = Literal["wrong", "all", "none"]
"""Which earlier attempts a critic is shown: those before the first right one, all, or none."""


@dataclass(frozen=True, slots=True)
class CriticFit:
    """How to train a meta-critic.

    `tried` says which earlier attempts it is shown; each tree's attempts are taken in
    `orders` orders, the first as they were found, the others shuffled (one order where none
    is shown: all are the same). The other fields are
    as in `ValueFit`. Raises: `UserError` on a value out of its range.
    """

    tried: Tried = "wrong"
    orders: int = 4
    epochs: float = 2.0
    learning_rate: float = 1e-5
    max_tokens: int = 4096
    micro_batches: int = 4
    weight_decay: float = 0.0
    mixed_precision: str = "no"
    seed: int = 42

    def __post_init__(self) -> None:
        if self.tried not in ("wrong", "all", "none"):
            raise UserError(f"tried is {self.tried!r}; it must be wrong, all or none")
        if self.orders < 1:
            raise UserError(f"orders is {self.orders}; it must be at least 1")


def critic_texts(
    prompt: Tokens,
    attempts: Sequence[Found],
    judge: ProcessVerifier,
    *,
    tried: Tried = "wrong",
) -> list[PlacedText]:
    """Return a text an attempt, with the value of each of its prefixes in the light of `tried`.

    The places are the ends of its steps, its own end, and the end of what stands before it.
    With "wrong" there is no text of an attempt that comes after a right one.
    """
    room = judge.policy.config.max_positions
    texts: list[PlacedText] = []
    for j, attempt in enumerate(attempts):
        completion = attempt.completion
        if tried == "wrong" and j and attempts[j - 1].is_right:
            break
        before = [] if tried == "none" else [one.completion for one in attempts[:j]]
        tokens = with_tried(prompt + completion, len(prompt), before, judge.tokenizer, room)
        start = len(tokens) - len(completion)
        ends = sorted({0, *judge.step_ends.ends(completion), len(completion)})
        targets = [_share_right(attempts[j:], completion[:end]) for end in ends]
        places = tuple(start + end - 1 for end in ends)
        texts.append(PlacedText(tokens, places, tuple(targets), (1.0,) * len(ends)))
    return texts


def _share_right(attempts: Iterable[Found], beginning: Tokens) -> float:
    """Return the share right of the attempts that begin so, of which there is one."""
    grades = [
        bool(one.is_right) for one in attempts if one.completion[: len(beginning)] == beginning
    ]
    return sum(grades) / len(grades)


def critic_loss(critic: MetaCritic, batch: PlacedBatch) -> Float[Tensor, ""]:
    """Return the cross-entropy (nats) of a batch's values, summed over its places."""
    logits = critic(batch.tokens)[batch.rows, batch.columns]
    return value_loss(logits, batch.targets)


def fit_meta_critic(
    critic: MetaCritic,
    searches: Sequence[Searched],
    config: CriticFit,
    *,
    folder: Path | None = None,
) -> tuple[int, Iterator[StepReport]]:
    """Return the number of steps, and the steps that train a critic (lazily).

    The policy is in float32, and stays as it is. With `folder`, training takes up from its
    last checkpoint. Raises: `UserError` where there are not both right and wrong attempts,
    where no problem has two attempts, or training diverges.
    """
    _check_attempts([search.attempts() for search in searches])
    texts = all_texts(critic, searches, config)
    batches, per_epoch = planned_batches(
        texts,
        lambda text: len(text.tokens),
        placed_batch,
        max_tokens=config.max_tokens,
        seed=config.seed,
        per_step=config.micro_batches,
    )
    how = passes_over(config, per_epoch)
    about = (config, described(critic), policy_print(critic.policy), texts)
    return how.steps, fit(critic, batches, critic_loss, how, folder=folder, about=about)


def all_texts(
    critic: MetaCritic, searches: Sequence[Searched], config: CriticFit
) -> list[PlacedText]:
    """Return the texts of all searches, each in the orders that the configuration asks for."""
    return [
        text
        for search in searches
        for number in range(1 if config.tried == "none" else config.orders)
        for text in critic_texts(
            search.prompt,
            _ordered(search.attempts(), number, search.problem.id, config.seed),
            critic.judge,
            tried=config.tried,
        )
    ]


def _check_attempts(attempts_S: Sequence[Sequence[Found]]) -> None:
    """Raise `UserError` where the attempts (by search) have nothing to teach."""
    grades = [one.is_right for attempts in attempts_S for one in attempts]
    if len(set(grades)) < 2:
        raise UserError(
            f"{sum(map(bool, grades))} of {len(grades)} graded attempts are right; both kinds "
            "are needed: sample more (system2 solve --search sample --samples 16)"
        )
    if max(map(len, attempts_S)) < 2:
        raise UserError(
            "no tree has two graded attempts, so nothing was tried before any: sample more "
            "(system2 solve --search sample --samples 16)"
        )


def _ordered(attempts: Sequence[Found], number: int, problem: str, seed: int) -> Sequence[Found]:
    """Return the attempts as they were found (order 0), or shuffled."""
    shuffled = list(attempts)
    if number:
        random.Random(derive_seed("critic", seed, problem, number)).shuffle(shuffled)
    return shuffled
