"""The science in small: verifiers of every kind learn what their data hold, and only there.

The toy: a token is right after another where they are of one kind (both even, both odd). So
neither the token nor its prefix tells alone: a verifier has to see both.
"""

import math
import random
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from system2.core import UserError
from system2.engine.model import LanguageModel
from system2.synthesise.pairs import Pair, PairRow
from system2.train.batches import Example
from system2.train.loop import FitConfig, fit
from system2.train.losses import next_token_loss
from system2.train.outcome import OutcomeFit, Solution, fit_outcome_verifier
from system2.train.pairs import pair_accuracy
from system2.train.sft import example_batches
from system2.train.token_verifier import VerifierFit, fit_token_verifier
from system2.verify.token import LAYOUTS, Layout

MakeModel = Callable[[int], LanguageModel]


def text(rng: random.Random) -> tuple[int, ...]:
    """Draw a text whose tokens keep the kind of the one before, seven times of eight."""
    tokens = [rng.randrange(24)]
    for _ in range(9):
        kind = tokens[-1] % 2 if rng.random() < 7 / 8 else 1 - tokens[-1] % 2
        tokens.append(2 * rng.randrange(12) + kind)
    return tuple(tokens)


@pytest.fixture(scope="module")
def policy(make_model: MakeModel) -> LanguageModel:
    """A policy that has seen such texts a little: its hidden states hold the kinds."""
    model, rng = make_model(0), random.Random(0)
    examples = [Example(text(rng), 1) for _ in range(200)]
    batches, _ = example_batches(examples, 0, max_tokens=640, seed=0)
    for _ in fit(model, batches, next_token_loss, FitConfig(60, 1e-2)):
        pass
    return model.eval()


def pair_rows(count: int, seed: int) -> list[PairRow]:
    rng, rows = random.Random(seed), list[PairRow]()
    for _ in range(count):
        tokens = text(rng)
        places = [t for t in range(1, 10) if tokens[t] % 2 == tokens[t - 1] % 2]
        wrong = [2 * rng.randrange(12) + 1 - tokens[t] % 2 for t in places]
        pairs = [Pair(t, tokens[t], v) for t, v in zip(places, wrong, strict=True)]
        rows.append(PairRow(tokens, tuple(pairs)))
    return rows


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_verifier_learns_to_order_pairs_it_has_not_seen(
    layout: Layout, policy: LanguageModel
) -> None:
    frozen = [p.detach().clone() for p in policy.parameters()]
    config = VerifierFit(layout, epochs=4, learning_rate=1e-2, max_tokens=640, micro_batches=1)
    held_out = pair_rows(60, seed=2)
    verifier, steps, reports = fit_token_verifier(policy, pair_rows(200, seed=1), config)
    before, _ = pair_accuracy(verifier, held_out)
    assert len(list(reports)) == steps
    after, loss = pair_accuracy(verifier, held_out)
    assert before == pytest.approx(0.5, abs=0.1)
    assert after > 0.85
    assert loss < 0.5
    for parameter, old in zip(policy.parameters(), frozen, strict=True):
        assert torch.equal(parameter, old), "the policy has moved"


def solutions(count: int, seed: int) -> list[Solution]:
    """Right where every token is of the kind of the one before: about every other."""
    rng, found = random.Random(seed), list[Solution]()
    for _ in range(count):
        tokens = text(rng)[: rng.randrange(5, 9)]
        is_right = all(a % 2 == b % 2 for a, b in pairwise(tokens[1:]))
        found.append(Solution(tokens, 2, is_right))
    return found


def test_an_outcome_verifier_learns_to_tell_right_from_wrong(policy: LanguageModel) -> None:
    config = OutcomeFit(epochs=6, learning_rate=1e-2, max_tokens=640, micro_batches=1)
    held_out = solutions(200, seed=4)
    verifier, steps, reports = fit_outcome_verifier(policy, solutions(300, seed=3), config)
    losses = [report.loss for report in reports]
    assert len(losses) == steps
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    values = verifier.eval().values([solution.tokens for solution in held_out])
    right = [(value > 0.5) == s.is_right for value, s in zip(values, held_out, strict=True)]
    assert sum(right) / len(right) > 0.85


@pytest.mark.parametrize("is_right", [True, False])
def test_attempts_of_one_kind_teach_nothing(is_right: bool, policy: LanguageModel) -> None:
    with pytest.raises(UserError, match="both kinds are needed"):
        fit_outcome_verifier(policy, [Solution((1, 2), 1, is_right)] * 3, OutcomeFit())
