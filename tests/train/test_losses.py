"""Losses against second sources: torch's own, closed forms, and sums by hand."""

import math
import random
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from system2.engine.model import LanguageModel
from system2.train.batches import Example, text_batch
from system2.train.losses import next_token_loss, outcome_loss, pairwise_loss

scores = st.lists(
    st.tuples(st.floats(-30, 30), st.floats(-30, 30), st.floats(0, 2)), min_size=1, max_size=20
)


@given(scores)
def test_pairwise_loss_is_its_closed_form_summed(drawn: list[tuple[float, float, float]]) -> None:
    chosen, rejected, weights = (
        torch.tensor(c, dtype=torch.float64) for c in zip(*drawn, strict=True)
    )
    terms = [math.log1p(math.exp(r - c)) for c, r, _ in drawn]
    weighted = [w * term for (_, _, w), term in zip(drawn, terms, strict=True)]
    assert pairwise_loss(chosen, rejected).item() == pytest.approx(sum(terms))
    assert pairwise_loss(chosen, rejected, weights).item() == pytest.approx(sum(weighted))


@pytest.mark.parametrize("count", [1, 7, 28])
def test_equal_scores_cost_ln_2_a_pair(count: int) -> None:
    assert pairwise_loss(torch.zeros(count), torch.zeros(count)).item() / count == pytest.approx(
        math.log(2)
    )


def test_a_verifier_far_off_costs_no_overflow() -> None:
    assert pairwise_loss(torch.tensor([-500.0]), torch.tensor([500.0])).item() == 1000
    assert pairwise_loss(torch.tensor([500.0]), torch.tensor([-500.0])).item() == 0


def test_next_token_loss_is_torchs_on_each_target_of_each_text_alone(
    make_model: Callable[[int], LanguageModel],
) -> None:
    model, rng = make_model(0), random.Random(1)
    examples = [
        Example(tuple(rng.randrange(24) for _ in range(length)), start)
        for length, start in ((9, 4), (3, 0), (12, 11), (6, 6))
    ]
    batch = text_batch(examples)
    by_hand, num_targets = 0.0, 0
    for example in examples:
        logits = model(torch.tensor([example.tokens]))[0]
        for t in range(max(1, example.start), len(example.tokens)):
            target = torch.tensor(example.tokens[t])
            by_hand += functional.cross_entropy(logits[t - 1], target).item()
            num_targets += 1
    assert next_token_loss(model, batch).item() == pytest.approx(by_hand, rel=1e-5)
    assert batch.num_targets == num_targets


@given(
    st.lists(st.tuples(st.floats(-20, 20), st.booleans(), st.booleans()), min_size=1, max_size=12)
)
def test_outcome_loss_is_its_closed_form_on_targets_only(
    drawn: list[tuple[float, bool, bool]],
) -> None:
    """One row a drawn token, so that every token has an outcome of its own."""
    logits, is_target, is_right = (torch.tensor(column) for column in zip(*drawn, strict=True))
    by_hand = sum(
        math.log1p(math.exp(-logit if right else logit)) for logit, target, right in drawn if target
    )
    found = outcome_loss(logits.double()[:, None], is_target[:, None], is_right)
    assert found.item() == pytest.approx(by_hand, rel=1e-5, abs=1e-9)


def test_no_opinion_of_an_outcome_costs_ln_2_a_token() -> None:
    is_target = torch.tensor([[False, True, True], [False, True, False]])
    loss = outcome_loss(torch.zeros(2, 3), is_target, torch.tensor([True, False]))
    assert loss.item() == pytest.approx(3 * math.log(2))


def test_what_is_no_target_gets_no_gradient() -> None:
    logits = torch.zeros(2, 3, requires_grad=True)
    is_target = torch.tensor([[False, True, True], [False, True, False]])
    outcome_loss(logits, is_target, torch.tensor([True, False])).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad != 0, is_target)
