"""Implicit process rewards: log-ratios added up, whatever else is in the batch."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import Problem, ScoreRequest, Tokens, UserError
from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.tokenizer import Tokenizer
from system2.verify.implicit import ImplicitVerifier, step_rewards
from system2.verify.process import Calibration
from tests.toys import random_prompts, spread_model

PROBLEM = Problem("p", "Tom has 3 + 4 apples.", "7", "word_problems")
BETA = 0.2


@pytest.fixture(scope="module", params=[0, 1, 3])
def verifier(request: pytest.FixtureRequest, small_tokenizer: Tokenizer) -> ImplicitVerifier:
    """A verifier far from its reference, with no, some and all layers adapted."""
    model = spread_model(ModelConfig(small_tokenizer.vocab_size, 16, 3, 4, 2, 4, 32), seed=0)
    verifier = ImplicitVerifier(model, small_tokenizer, request.param, beta=BETA).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in verifier.parameters():
            _ = parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return verifier


def ratios_alone(verifier: ImplicitVerifier, prefix: Tokens, start: int) -> list[float]:
    """Return beta (log pi - log pi_ref) of each token from `start` on, by definition."""
    policy, row = verifier.policy, torch.tensor([prefix])
    with torch.inference_mode():
        tapped = policy.run_layers(policy.model.embed_tokens(row), 0, verifier.top.tap)
        own = verifier.top.norm(policy.run(verifier.top.layers, tapped))
        ours = (own[0] @ verifier.top.head.weight.T).log_softmax(-1)
        theirs = policy(row)[0].log_softmax(-1)
        return [
            BETA * float(ours[t - 1, prefix[t]] - theirs[t - 1, prefix[t]])
            for t in range(start, len(prefix))
        ]


@given(seed=st.integers(0, 10**6), count=st.integers(1, 5))
@settings(max_examples=15)
def test_a_reward_is_the_difference_of_log_probabilities(
    verifier: ImplicitVerifier, seed: int, count: int
) -> None:
    prefixes = random_prompts(seed, count, 2, 12)
    starts = [1 + seed % (len(prefix) - 1) for prefix in prefixes]
    found = verifier.rewards(prefixes, starts, batch=2)
    for prefix, start, rewards in zip(prefixes, starts, found, strict=True):
        expected = ratios_alone(verifier, prefix, start)
        assert rewards == pytest.approx(expected, abs=1e-4)
        value = verifier.values([prefix], [start])[0]
        assert value == pytest.approx(1 / (1 + math.exp(-sum(expected))), abs=1e-4)
        assert 0 <= value <= 1


def test_steps_add_up_to_the_whole_and_differ_by_what_they_add(verifier: ImplicitVerifier) -> None:
    (prefix,) = random_prompts(1, 1, 12, 12)
    (rewards,) = verifier.rewards([prefix], [3])
    steps = step_rewards(rewards, [2, 5, 9])
    assert math.fsum(steps) == pytest.approx(math.fsum(rewards), abs=1e-6)
    sums = [math.fsum(verifier.rewards([prefix[: 3 + end]], [3])[0]) for end in (2, 5, 9)]
    assert steps == pytest.approx([sums[0], sums[1] - sums[0], sums[2] - sums[1]], abs=1e-5)


def test_scores_leave_the_prompt_out(
    verifier: ImplicitVerifier, small_tokenizer: Tokenizer
) -> None:
    prompt = small_tokenizer.prompt(PROBLEM.prompt)
    attempt = small_tokenizer.encode("3 + 4 = 7")
    prefixes = (prompt + attempt, prompt, prompt + attempt[:1])
    values = verifier.score([ScoreRequest(PROBLEM, prefixes), ScoreRequest(PROBLEM, ())])
    assert values[0] == pytest.approx(
        [1 / (1 + math.exp(-sum(ratios_alone(verifier, p, len(prompt))))) for p in prefixes],
        abs=1e-4,
    )
    assert values[0][1] == 0.5  # nothing was attempted
    assert values[1] == []


def test_another_conversation_starts_where_its_last_reply_is_opened(
    verifier: ImplicitVerifier, small_tokenizer: Tokenizer
) -> None:
    turns = [
        {"role": "user", "content": "3"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": PROBLEM.prompt},
    ]
    asked = small_tokenizer.render(turns, has_generation_prompt=True)
    prefix = asked + small_tokenizer.encode("3 + 4 = 7")
    ((value,),) = verifier.score([ScoreRequest(PROBLEM, (prefix,))])
    assert value == pytest.approx(verifier.values([prefix], [len(asked)])[0], abs=1e-6)
    with pytest.raises(UserError, match="a prefix of problem p does not begin with its prompt"):
        verifier.score([ScoreRequest(PROBLEM, ((5, 6),))])


def test_a_fresh_verifier_is_its_reference_and_has_no_opinion(small_tokenizer: Tokenizer) -> None:
    model = spread_model(ModelConfig(small_tokenizer.vocab_size, 16, 2, 4, 2, 4, 32), seed=0)
    verifier = ImplicitVerifier(model, small_tokenizer, 1)
    values = verifier.values(random_prompts(0, 4, 3, 9), [1] * 4)
    assert values == pytest.approx([0.5] * 4, abs=1e-6)


def test_many_cells_are_computed_piece_by_piece(
    verifier: ImplicitVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefixes = random_prompts(2, 5, 3, 12)
    whole = verifier.rewards(prefixes, [1] * 5)
    monkeypatch.setattr("system2.verify.implicit._CELLS", 3 * 390)
    pieces = verifier.rewards(prefixes, [1] * 5)
    for one, other in zip(whole, pieces, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_a_calibration_makes_the_value(small_tokenizer: Tokenizer) -> None:
    shape = ModelConfig(small_tokenizer.vocab_size, 16, 2, 4, 2, 4, 32)
    model = LanguageModel(shape)
    verifier = ImplicitVerifier(model, small_tokenizer, 1, calibration=Calibration(2.0, -1.0))
    assert verifier.values([(1, 2, 3)], [1])[0] == pytest.approx(1 / (1 + math.e), abs=1e-6)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, math.inf])
def test_a_beta_out_of_range_is_refused(beta: float, small_tokenizer: Tokenizer) -> None:
    model = LanguageModel(ModelConfig(small_tokenizer.vocab_size, 16, 2, 4, 2, 4, 32))
    with pytest.raises(UserError, match="beta is"):
        ImplicitVerifier(model, small_tokenizer, 1, beta=beta)
