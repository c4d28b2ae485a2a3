"""Outcome verifiers: a value is the definition's, whatever else is in the batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import Problem, ScoreRequest, Tokens
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.verify.outcome import OutcomeVerifier

VOCAB = 24
PROBLEM = Problem("p", "?", "1", "word_problems")
prefixes = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12).map(tuple), max_size=9
)


@pytest.fixture(scope="module", params=[0, 1, 3])
def verifier(request: pytest.FixtureRequest) -> OutcomeVerifier:
    """A verifier far from its start, with no, some and all layers adapted."""
    policy = LanguageModel(ModelConfig(VOCAB, 16, 3, 4, 2, 4, 32)).eval()
    initialise(policy, 0)
    verifier = OutcomeVerifier(policy, request.param).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in [*policy.parameters(), *verifier.parameters()]:
            _ = parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return verifier


def value_alone(verifier: OutcomeVerifier, prefix: Tokens) -> float:
    """Return the value of a prefix by definition: sigmoid(w . h) at its last token."""
    top, policy = verifier.top, verifier.top.policy
    row = torch.tensor([prefix])
    with torch.inference_mode():
        tapped = policy.run_layers(policy.model.embed_tokens(row), 0, top.tap)
        state = top.norm(policy.run(top.layers, tapped))[0, -1]
        return (top.head.weight[0] @ state).sigmoid().item()


@given(drawn=prefixes, batch=st.integers(1, 5))
@settings(max_examples=25)
def test_values_are_those_of_each_prefix_alone(
    verifier: OutcomeVerifier, drawn: list[Tokens], batch: int
) -> None:
    values = verifier.values(drawn, batch=batch)
    # products of another number of rows round otherwise
    assert values == pytest.approx([value_alone(verifier, prefix) for prefix in drawn], abs=5e-6)
    assert all(0 <= value <= 1 for value in values)


@given(drawn=st.lists(prefixes, max_size=4))
@settings(max_examples=25)
def test_scores_come_back_request_by_request(
    verifier: OutcomeVerifier, drawn: list[list[Tokens]]
) -> None:
    scores = verifier.score([ScoreRequest(PROBLEM, tuple(asked)) for asked in drawn])
    assert [len(values) for values in scores] == [len(asked) for asked in drawn]
    for values, asked in zip(scores, drawn, strict=True):
        assert values == pytest.approx(verifier.values(asked), abs=1e-6)


def test_a_fresh_verifier_has_no_opinion() -> None:
    policy = LanguageModel(ModelConfig(VOCAB, 16, 3, 4, 2, 4, 32))
    initialise(policy, 0)
    assert OutcomeVerifier(policy, 1).values([(1, 2), (3,)]) == [0.5, 0.5]


def test_a_token_foretells_from_what_stands_before_it(verifier: OutcomeVerifier) -> None:
    """The logit at a token is that of the prefix that ends there: nothing later is seen."""
    tokens = (3, 1, 4, 1, 5, 9)
    with torch.inference_mode():
        logits = verifier(torch.tensor([tokens]))[0].sigmoid().tolist()
    expected = [value_alone(verifier, tokens[: t + 1]) for t in range(len(tokens))]
    assert logits == pytest.approx(expected, abs=1e-6)
