"""Meta-critics: what was tried stands before the prefix, the most recent that fits."""

import pytest
import torch

from system2.core import Problem, ScoreRequest
from system2.engine.model import ModelConfig
from system2.engine.tokenizer import Tokenizer
from system2.verify.meta_critic import MetaCritic, with_tried
from system2.verify.process import ProcessVerifier
from tests.toys import spread_model

PROBLEM = Problem("p", "Tom has 3 + 4 apples.", "7", "word_problems")


@pytest.fixture(scope="module")
def critic(small_tokenizer: Tokenizer) -> MetaCritic:
    """A critic whose values differ, with room for 60 tokens."""
    shape = ModelConfig(small_tokenizer.vocab_size, 16, 2, 4, 2, 4, 32, max_positions=60)
    judge = ProcessVerifier(spread_model(shape, seed=0), small_tokenizer).eval()
    with torch.no_grad():
        weight = judge.top.head.weight
        _ = weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return MetaCritic(judge)


def test_attempts_stand_between_prompt_and_prefix_each_ended(small_tokenizer: Tokenizer) -> None:
    (end,) = small_tokenizer.eos
    prefix, tried = (11, 12, 21, 22), [(31, 32, end), (41,), ()]
    found = with_tried(prefix, 2, tried, small_tokenizer, room=100)
    assert found == (11, 12, 31, 32, end, 41, end, end, 21, 22)


@pytest.mark.parametrize(
    ("room", "kept"), [(12, [0, 1, 2]), (11, [1, 2]), (9, [1, 2]), (8, [2]), (6, [2]), (5, [])]
)
def test_the_most_recent_that_fit_are_kept_whole(
    room: int, kept: list[int], small_tokenizer: Tokenizer
) -> None:
    (end,) = small_tokenizer.eos
    prefix, tried = (11, 21, 22, 23), [(31, 32), (41, 42), (51,)]
    found = with_tried(prefix, 1, tried, small_tokenizer, room)
    between = tuple(token for i in kept for token in (*tried[i], end))
    assert found == (11, *between, 21, 22, 23)
    assert not kept or len(found) <= room


def test_its_value_is_that_of_the_text_it_is_given(
    critic: MetaCritic, small_tokenizer: Tokenizer
) -> None:
    prompt, encode = small_tokenizer.prompt(PROBLEM.prompt), small_tokenizer.encode
    prefixes = (prompt + encode("3 + 4"), prompt)
    tried = (encode("3 + 4 = 9"), encode("3 + 4 = 8"))
    (values,) = critic.score([ScoreRequest(PROBLEM, prefixes, tried)])
    for prefix, value in zip(prefixes, values, strict=True):
        text = with_tried(prefix, len(prompt), tried, small_tokenizer, 60)
        assert len(text) > len(prefix)
        with torch.inference_mode():
            alone = critic(torch.tensor([text]))[0, -1].sigmoid().item()
        assert value == pytest.approx(alone, abs=1e-5)


def test_with_nothing_tried_it_is_a_process_verifier(
    critic: MetaCritic, small_tokenizer: Tokenizer
) -> None:
    prompt = small_tokenizer.prompt(PROBLEM.prompt)
    prefixes = tuple(prompt + small_tokenizer.encode(text) for text in ("3", "3 + 4 = 7.\n"))
    plain = ScoreRequest(PROBLEM, prefixes)
    seen = ScoreRequest(PROBLEM, prefixes, (small_tokenizer.encode("3 + 4 = 8"),))
    together = critic.score([plain, seen, plain])
    assert together[0] == pytest.approx(critic.judge.score([plain])[0], abs=1e-6)
    assert together[2] == pytest.approx(together[0], abs=1e-6)
    assert together[1] != pytest.approx(together[0], abs=1e-3)
    # a process verifier leaves them alone
    assert critic.judge.score([seen]) == critic.judge.score([plain])
