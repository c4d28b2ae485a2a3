"""Verified decoding: batched equals alone, cached equals uncached, switched off equals plain."""

import copy
from itertools import chain

import pytest
import torch

from system2.core import SampleRequest, SamplingParams, Tokens
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig
from system2.engine.sampling import plausible
from system2.engine.tokenizer import Tokenizer
from system2.verify.token import (
    LAYOUTS,
    ContrastiveGuide,
    Layout,
    PlausibleGuide,
    TokenVerifier,
    VerifierGuide,
)
from tests.toys import random_prompts, spread_model, spread_verifier

CONFIG = ModelConfig(400, 32, 3, 4, 2, 8, 64)
GREEDY = SamplingParams(max_tokens=24, temperature=0.0)
WARM = SamplingParams(max_tokens=24, temperature=1.0)
pytestmark = pytest.mark.usefixtures("engine_path")


@pytest.fixture(scope="module")
def policy_model() -> LanguageModel:
    return spread_model(CONFIG, 0, 6, 15)


@pytest.fixture(scope="module")
def prompts() -> tuple[Tokens, ...]:
    return random_prompts(3, 6, 3, 14)


def sampled(
    model: LanguageModel,
    tokenizer: Tokenizer,
    guide: object,
    request: SampleRequest,
    max_rows: int = 64,
) -> list[list[tuple[Tokens, tuple[float, ...]]]]:
    policy = LocalPolicy(model, tokenizer, guide, max_rows=max_rows)  # pyright: ignore
    return [[(c.tokens, c.logprobs) for c in row] for row in policy.sample([request])[0]]


def naive_verified(
    verifier: TokenVerifier, alpha: float, beta: float, prompt: Tokens, num_tokens: int, eos: set
) -> Tokens:
    """Greedy LLM2 by definition: no cache, one candidate at a time."""
    policy, tokens = verifier.policy, list(prompt)
    for _ in range(num_tokens):
        with torch.inference_mode():
            logits = policy(torch.tensor([tokens]))[0, -1]
            allowed = plausible(logits[None], alpha)[0].nonzero()[:, 0].tolist()
            values = {v: logits[v].item() + beta * score(verifier, tokens, v) for v in allowed}
        tokens.append(max(values, key=values.__getitem__))
        if tokens[-1] in eos:
            break
    return tuple(tokens[len(prompt) :])


def score(verifier: TokenVerifier, prefix: list[int], candidate: int) -> float:
    policy = verifier.policy
    row = torch.tensor([[*prefix, candidate]])
    tapped = policy.run_layers(policy.model.embed_tokens(row), 0, verifier.top.tap)
    states = verifier.top.states(row, tapped, None)[0]
    if verifier.layout != "vocab":
        return verifier.top.head(states[-1]).item()
    base = policy(row)[0, -2, candidate]
    return ((states[-2] * verifier.top.head.weight[candidate]).sum() - base).item()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_verified_greedy_equals_the_definition(
    layout: Layout,
    policy_model: LanguageModel,
    prompts: tuple[Tokens, ...],
    small_tokenizer: Tokenizer,
) -> None:
    verifier = spread_verifier(policy_model, layout)
    guide = VerifierGuide(verifier, alpha=0.2, beta=0.7)
    rows = sampled(policy_model, small_tokenizer, guide, SampleRequest(prompts, 1, GREEDY, 0))
    plain = sampled(policy_model, small_tokenizer, None, SampleRequest(prompts, 1, GREEDY, 0))
    changed = 0
    for prompt, ((tokens, _),), ((plain_tokens, _),) in zip(prompts, rows, plain, strict=True):
        assert tokens == naive_verified(
            verifier, 0.2, 0.7, prompt, GREEDY.max_tokens, set(small_tokenizer.eos)
        )
        changed += tokens != plain_tokens
    assert changed, "the verifier never mattered: this test would prove nothing"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("params", [GREEDY, WARM], ids=["greedy", "sampled"])
@pytest.mark.parametrize("alpha", [0.1, 0.5])
def test_batched_equals_alone(
    layout: Layout,
    alpha: float,
    params: SamplingParams,
    policy_model: LanguageModel,
    prompts: tuple[Tokens, ...],
    small_tokenizer: Tokenizer,
) -> None:
    guide = VerifierGuide(spread_verifier(policy_model, layout), alpha, beta=0.5)
    together = sampled(policy_model, small_tokenizer, guide, SampleRequest(prompts, 9, params, 7))
    for max_rows in (4, 30):  # rows join others that are under way, few and many
        few = sampled(
            policy_model, small_tokenizer, guide, SampleRequest(prompts, 9, params, 7), max_rows
        )
        for one, other in zip(together, few, strict=True):
            for (tokens, logprobs), (tokens_b, logprobs_b) in zip(one, other, strict=True):
                assert tokens == tokens_b
                assert logprobs == pytest.approx(logprobs_b, abs=1e-5)
    alone = sampled(
        policy_model, small_tokenizer, guide, SampleRequest(prompts[:1], 9, params, 7), 1
    )
    assert [t for t, _ in alone[0]] == [t for t, _ in together[0]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_that_join_many_others_are_read_from_their_own_prompt_on(
    layout: Layout,
    policy_model: LanguageModel,
    prompts: tuple[Tokens, ...],
    small_tokenizer: Tokenizer,
) -> None:
    """Short completions leave early, and others join long ones that are under way."""
    guide = VerifierGuide(spread_verifier(policy_model, layout), alpha=0.1, beta=0.5)
    requests = [
        SampleRequest(prompts, 8, SamplingParams(max_tokens=count), seed=count)
        for count in (24, 4, 9, 14)
    ]
    alone, joined = (
        LocalPolicy(policy_model, small_tokenizer, guide, max_rows=max_rows).sample(requests)
        for max_rows in (1000, 50)
    )
    for one, other in zip(alone, joined, strict=True):
        for first, second in zip(chain(*one), chain(*other), strict=True):
            assert first.tokens == second.tokens
            assert first.logprobs == pytest.approx(second.logprobs, abs=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.5), (0.1, 0.0)])
def test_switched_off_equals_plain_greedy(
    layout: Layout,
    alpha: float,
    beta: float,
    policy_model: LanguageModel,
    prompts: tuple[Tokens, ...],
    small_tokenizer: Tokenizer,
) -> None:
    guide = VerifierGuide(spread_verifier(policy_model, layout), alpha, beta)
    request = SampleRequest(prompts, 1, GREEDY, 0)
    guided = sampled(policy_model, small_tokenizer, guide, request)
    plain = sampled(policy_model, small_tokenizer, None, request)
    assert [[t for t, _ in row] for row in guided] == [[t for t, _ in row] for row in plain]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cached_scores_equal_uncached_also_after_skipped_verification(
    layout: Layout,
    policy_model: LanguageModel,
    prompts: tuple[Tokens, ...],
    small_tokenizer: Tokenizer,
) -> None:
    """alpha 0.5 leaves many places with one candidate: nothing to verify there."""
    verifier = spread_verifier(policy_model, layout)
    alpha, beta = 0.5, 0.6
    guide = VerifierGuide(verifier, alpha, beta)
    rows = sampled(policy_model, small_tokenizer, guide, SampleRequest(prompts, 1, GREEDY, 0))
    places = skipped = 0
    for prompt, ((tokens, logprobs),) in zip(prompts, rows, strict=True):
        prefix = list(prompt)
        for token, logprob in zip(tokens, logprobs, strict=True):
            with torch.inference_mode():
                logits = policy_model(torch.tensor([prefix]))[0, -1]
                allowed = plausible(logits[None], alpha)[0].nonzero()[:, 0].tolist()
                z = torch.tensor([logits[v] + beta * score(verifier, prefix, v) for v in allowed])
            expected = z.log_softmax(0)[allowed.index(token)].item()
            assert logprob == pytest.approx(expected, abs=1e-5)
            places, skipped = places + 1, skipped + (len(allowed) == 1)
            prefix.append(token)
    assert 0 < skipped < places


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gate_leaves_the_sure_places_to_the_policy(
    layout: Layout,
    policy_model: LanguageModel,
    prompts: tuple[Tokens, ...],
    small_tokenizer: Tokenizer,
) -> None:
    """By definition, place by place; a gate of 0 leaves all of them, one of 1 none."""
    verifier, beta, request = (
        spread_verifier(policy_model, layout),
        0.6,
        SampleRequest(prompts, 2, WARM, 3),
    )
    open_places = shut_places = 0
    for gate in (0.0, 0.4, 1.0):
        guide = VerifierGuide(verifier, 0.1, beta, gate)
        rows = sampled(policy_model, small_tokenizer, guide, request)
        for prompt, draws in zip(prompts, rows, strict=True):
            prefix = list(prompt)
            for token, logprob in zip(*draws[0], strict=True):
                with torch.inference_mode():
                    logits = policy_model(torch.tensor([prefix]))[0, -1]
                    allowed = plausible(logits[None], 0.1)[0].nonzero()[:, 0].tolist()
                    is_open = logits.softmax(-1).max().item() < gate or gate == 1
                    scores = [score(verifier, prefix, v) if is_open else 0.0 for v in allowed]
                z = logits[allowed] + beta * torch.tensor(scores)
                assert logprob == pytest.approx(
                    z.log_softmax(0)[allowed.index(token)].item(), abs=1e-5
                )
                open_places, shut_places = open_places + is_open, shut_places + (not is_open)
                prefix.append(token)
    assert open_places
    assert shut_places


def test_plausible_guide_is_a_verifier_with_beta_zero(
    policy_model: LanguageModel, prompts: tuple[Tokens, ...], small_tokenizer: Tokenizer
) -> None:
    request = SampleRequest(prompts, 2, WARM, 11)
    verifier = VerifierGuide(spread_verifier(policy_model, "vocab"), 0.1, 0.0)
    one = sampled(policy_model, small_tokenizer, PlausibleGuide(0.1), request)
    other = sampled(policy_model, small_tokenizer, verifier, request)
    assert [[t for t, _ in row] for row in one] == [[t for t, _ in row] for row in other]


def test_contrast_with_itself_changes_nothing_and_with_another_does(
    policy_model: LanguageModel, prompts: tuple[Tokens, ...], small_tokenizer: Tokenizer
) -> None:
    request = SampleRequest(prompts, 1, GREEDY, 0)
    plain = sampled(policy_model, small_tokenizer, None, request)
    itself = ContrastiveGuide(copy.deepcopy(policy_model))
    other = ContrastiveGuide(spread_model(CONFIG, 9, 6, 15), gamma=1.0)
    same = sampled(policy_model, small_tokenizer, itself, request)
    different = sampled(policy_model, small_tokenizer, other, request)
    assert [[t for t, _ in r] for r in same] == [[t for t, _ in r] for r in plain]
    assert [[t for t, _ in r] for r in different] != [[t for t, _ in r] for r in plain]
