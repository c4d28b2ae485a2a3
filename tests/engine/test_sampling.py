"""Choosing tokens: against the definitions, and by distribution."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.engine.sampling import choose, plausible, truncate, uniforms

logit_rows = st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=12)


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


@given(logit_rows, st.floats(0.01, 1))
def test_plausible_is_the_definition(row: list[float], alpha: float) -> None:
    logits = torch.tensor([row])
    probabilities = logits.double().softmax(-1)[0]
    allowed = plausible(logits, alpha)[0]
    limit = alpha * probabilities.max()
    for probability, is_in in zip(probabilities, allowed, strict=True):
        if abs(probability / limit - 1) > 1e-4:  # not a matter of rounding
            assert bool(is_in) == bool(probability >= limit)
    assert bool(allowed[int(logits[0].argmax())])


def test_plausible_at_the_ends() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    assert plausible(logits, 1.0).tolist() == [[False, True, False]]
    assert plausible(logits, 0.0).all()


@given(logit_rows, st.floats(0.05, 1), st.integers(0, 5))
def test_truncate_keeps_the_smallest_nucleus(row: list[float], top_p: float, top_k: int) -> None:
    kept = truncate(torch.tensor([row]), torch.tensor([top_p]), torch.tensor([top_k]))[0]
    order = sorted(range(len(row)), key=lambda v: (-row[v], v))
    number = int((kept > -math.inf).sum())
    assert {v for v in range(len(row)) if kept[v] > -math.inf} == set(order[:number])
    assert number >= 1
    if top_k:
        assert number <= top_k
    probabilities = torch.tensor(row).softmax(-1)
    if number > 1 and top_p < 1:
        assert float(probabilities[order[: number - 1]].sum()) < top_p + 1e-5


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0, -torch.inf]]).repeat(2, 1)
    uniform = torch.tensor(uniforms(1, 0, 0, 40_000), dtype=torch.float64).reshape(2, -1)
    tokens, logprobs = choose(logits, torch.full((2,), 0.7), uniform)
    expected = (logits[0] / 0.7).softmax(-1)
    for row in range(2):
        shares = torch.bincount(tokens[row], minlength=5) / 20_000
        assert shares[2] == shares[4] == 0
        assert (shares - expected).abs().max() < 0.015
        assert torch.allclose(logprobs[row].exp(), expected[tokens[row]], atol=1e-6)


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 2**-53])
def test_impossible_tokens_are_never_drawn(uniform: float) -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    tokens, logprobs = choose(logits, torch.ones(1), one(uniform)[:, None])
    assert tokens.item() in (1, 3)
    assert logprobs.item() == pytest.approx(math.log(0.5))


def test_greedy_takes_the_best_and_the_lowest_id_among_equals() -> None:
    logits = torch.tensor([[1.0, 5.0, 5.0], [2.0, 0.0, 1.0]])
    uniform = torch.tensor([[0.9], [0.0]]).double()
    tokens, logprobs = choose(logits, torch.tensor([0.0, 1.0]), uniform)
    assert tokens.tolist() == [[1], [0]]
    assert logprobs[0].item() == pytest.approx(logits[0].log_softmax(-1)[1].item())


@settings(max_examples=20)
@given(st.integers(0, 2**62), st.integers(0, 9), st.integers(0, 9))
def test_streams_depend_on_their_keys_alone(seed: int, prefix: int, draw: int) -> None:
    stream = uniforms(seed, prefix, draw, 8)
    assert stream == uniforms(seed, prefix, draw, 16)[:8]
    assert stream != uniforms(seed, prefix, draw + 1, 8)
    assert all(0 <= u < 1 for u in stream)


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-40])
def test_a_tiny_temperature_takes_the_most_probable_token(temperature: float) -> None:
    logits = torch.tensor([[1.0, 3.0, 2.9], [-torch.inf, -5.0, -torch.inf]])
    uniform = torch.tensor([[0.0, 0.5, 0.999], [0.0, 0.5, 0.999]], dtype=torch.float64)
    tokens, logprobs = choose(logits, torch.full((2,), temperature), uniform)
    assert tokens.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert logprobs.tolist() == [[0.0] * 3] * 2
