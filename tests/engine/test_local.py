"""The local policy: what it draws depends on the request alone, and is what it says it is."""

from itertools import pairwise

import pytest
import torch

from system2.core import Completion, SampleRequest, SamplingParams, Tokens, UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel, ModelConfig, initialise
from system2.engine.tokenizer import Tokenizer
from tests.toys import random_prompts, spread_model

CONFIG = ModelConfig(400, 32, 2, 4, 2, 8, 64, max_positions=64)
pytestmark = pytest.mark.usefixtures("engine_path")


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return spread_model(CONFIG, 4)


@pytest.fixture(scope="module")
def prompts() -> tuple[Tokens, ...]:
    return random_prompts(8, 7, 2, 19)


def test_logprobs_are_those_of_the_model(
    model: LanguageModel, prompts: tuple[Tokens, ...], small_tokenizer: Tokenizer
) -> None:
    """Sampling and training see the same log-probabilities (fp32, 1e-4)."""
    params = SamplingParams(max_tokens=30, temperature=0.8)
    drawn = LocalPolicy(model, small_tokenizer).sample([SampleRequest(prompts, 3, params, 5)])[0]
    for prompt, completions in zip(prompts, drawn, strict=True):
        for completion in completions:
            with torch.inference_mode():
                logits = model(torch.tensor([[*prompt, *completion.tokens]]))[0]
            ends = (logits[len(prompt) - 1 : -1] / 0.8).log_softmax(-1)
            expected = ends.gather(1, torch.tensor(completion.tokens)[:, None])[:, 0]
            assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-4)


@pytest.mark.parametrize("max_rows", [1, 3, 8, 64])
def test_draws_do_not_depend_on_the_batch(
    max_rows: int, model: LanguageModel, prompts: tuple[Tokens, ...], small_tokenizer: Tokenizer
) -> None:
    warm = SampleRequest(prompts[:4], 2, SamplingParams(max_tokens=20), 1)
    cut = SampleRequest(prompts[4:], 3, SamplingParams(max_tokens=9, top_p=0.7, top_k=9), 2)
    greedy = SampleRequest(prompts[:2], 1, SamplingParams(max_tokens=12, temperature=0), 3)
    together = LocalPolicy(model, small_tokenizer, max_rows=max_rows).sample([warm, cut, greedy])
    alone = [LocalPolicy(model, small_tokenizer).sample([r])[0] for r in (warm, cut, greedy)]
    for mine, its in zip(together, alone, strict=True):
        assert [[c.tokens for c in p] for p in mine] == [[c.tokens for c in p] for p in its]


def test_a_text_that_several_draws_share_is_computed_once(
    model: LanguageModel, prompts: tuple[Tokens, ...], small_tokenizer: Tokenizer
) -> None:
    cool = SamplingParams(max_tokens=20, temperature=0.15)
    policy = LocalPolicy(model, small_tokenizer, max_rows=100)
    requests = [SampleRequest(prompts[:4], 9, cool, 1), SampleRequest(prompts[2:], 5, cool, 2)]
    drawn = policy.sample(requests)
    texts = {
        (prompt, completion.tokens[:end])
        for request, rows in zip(requests, drawn, strict=True)
        for prompt, completions in zip(request.prefixes, rows, strict=True)
        for completion in completions
        for end in range(1, len(completion.tokens))  # a last token is never run
    }
    assert policy.positions_computed == sum(map(len, prompts)) + len(texts)
    tokens = sum(len(c.tokens) for rows in drawn for completions in rows for c in completions)
    assert len(texts) < 0.8 * tokens


def test_greedy_is_the_argmax_and_repeats_itself(
    model: LanguageModel, prompts: tuple[Tokens, ...], small_tokenizer: Tokenizer
) -> None:
    params = SamplingParams(max_tokens=15, temperature=0)
    policy = LocalPolicy(model, small_tokenizer)
    drawn = policy.sample([SampleRequest(prompts, 2, params, 0)])[0]
    assert drawn == policy.sample([SampleRequest(prompts, 2, params, 99)])[0]
    for prompt, (first, second) in zip(prompts, drawn, strict=True):
        assert first == second
        tokens = list(prompt)
        for _ in first.tokens:
            with torch.inference_mode():
                tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
        assert tuple(tokens[len(prompt) :]) == first.tokens


def test_a_completion_says_why_it_ended(
    model: LanguageModel, prompts: tuple[Tokens, ...], small_tokenizer: Tokenizer
) -> None:
    policy = LocalPolicy(model, small_tokenizer)
    free = policy.sample([SampleRequest(prompts, 4, SamplingParams(max_tokens=25), 6)])[0]
    completions = [c for row in free for c in row]
    for completion in completions:
        is_ended = completion.tokens[-1] in small_tokenizer.eos
        assert completion.finish_reason == ("eos" if is_ended else "length")
        assert len(completion.tokens) <= 25
    text = small_tokenizer.decode(completions[0].tokens)
    stop = next(piece for piece in text if piece.isascii() and piece.isprintable())
    stopped = policy.sample(
        [SampleRequest(prompts[:1], 1, SamplingParams(max_tokens=25, stop=(stop,)), 6)]
    )[0][0][0]
    assert stopped.finish_reason == "stop"
    assert completions[0].tokens[: len(stopped.tokens)] == stopped.tokens
    assert stop in small_tokenizer.decode(stopped.tokens)
    assert stop not in small_tokenizer.decode(stopped.tokens[:-1])


@pytest.mark.parametrize(
    ("prefix", "message"),
    [((), "0 tokens"), ((1,) * 65, "64 positions"), ((5, 400), "token 400"), ((-1,), "token -1")],
)
def test_a_prefix_that_cannot_be_run_is_refused(
    prefix: Tokens, message: str, model: LanguageModel, small_tokenizer: Tokenizer
) -> None:
    request = SampleRequest((prefix,), 1, SamplingParams(max_tokens=4), 0)
    with pytest.raises(UserError, match=message):
        _ = LocalPolicy(model, small_tokenizer).sample([request])


def test_a_prefix_that_fills_the_model_gets_nothing(
    model: LanguageModel, small_tokenizer: Tokenizer
) -> None:
    request = SampleRequest(((7,) * 64, (7,) * 63), 2, SamplingParams(max_tokens=4), 0)
    ((full, other),) = LocalPolicy(model, small_tokenizer).sample([request])
    assert full == [Completion((), (), "length")] * 2
    assert [len(completion.tokens) for completion in other] == [1, 1]


def test_a_long_prefix_gets_what_room_is_left(
    model: LanguageModel, small_tokenizer: Tokenizer
) -> None:
    request = SampleRequest(((7,) * 60,), 1, SamplingParams(max_tokens=50, temperature=0), 0)
    completion = LocalPolicy(model, small_tokenizer).sample([request])[0][0][0]
    assert len(completion.tokens) <= 4


def test_weights_that_are_not_numbers_are_refused(
    prompts: tuple[Tokens, ...], small_tokenizer: Tokenizer
) -> None:
    broken = LanguageModel(CONFIG).eval()
    initialise(broken, 4)
    with torch.no_grad():
        broken.model.norm.weight[3] = torch.nan
    request = SampleRequest(prompts, 1, SamplingParams(max_tokens=4), 0)
    with pytest.raises(UserError, match="not finite"):
        _ = LocalPolicy(broken, small_tokenizer).sample([request])


def test_a_stop_of_several_bytes_is_met(small_tokenizer: Tokenizer) -> None:
    draw_tokens = [*small_tokenizer.encode("Tom"), *small_tokenizer.encode("🎈")]
    assert len(draw_tokens) > 3  # the balloon falls apart into bytes
    biased = LanguageModel(CONFIG).eval()
    initialise(biased, 1)
    with torch.no_grad():  # what comes next depends on the last token alone: a fixed chain
        for layer in biased.model.layers:
            _ = layer.self_attn.o_proj.weight.zero_()
            _ = layer.mlp.down_proj.weight.zero_()
        _ = biased.model.embed_tokens.weight.zero_()
        untied = torch.zeros(400, 32)
        for place, (token, after) in enumerate(pairwise(draw_tokens)):
            biased.model.embed_tokens.weight[token, place] = 1.0
            untied[after, place] = 5.0
        biased.lm_head.weight = torch.nn.Parameter(untied)
    params = SamplingParams(max_tokens=20, temperature=0, stop=("🎈",))
    request = SampleRequest(((draw_tokens[0],),), 1, params, 0)
    completion = LocalPolicy(biased, small_tokenizer).sample([request])[0][0][0]
    assert completion.tokens == tuple(draw_tokens[1:])
    assert completion.finish_reason == "stop"
