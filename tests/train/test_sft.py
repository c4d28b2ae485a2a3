"""Examples to imitate: the reply and its end token are learned, nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import Problem, UserError
from system2.engine.tokenizer import Tokenizer
from system2.synthesise.conversations import conversation
from system2.train.sft import example_batches, sft_example, sft_examples

words = st.text(st.sampled_from("Tom has 3 apples.\n<|end|>é"), max_size=30)


@given(prompt=words, solution=words)
def test_what_is_learned_is_what_decoding_would_give(
    small_tokenizer: Tokenizer, prompt: str, solution: str
) -> None:
    example = sft_example(small_tokenizer, prompt, solution)
    assert example.tokens[: example.start] == small_tokenizer.prompt(prompt)
    reply = example.tokens[example.start :]
    assert reply[-1] in small_tokenizer.eos
    assert not set(reply[:-1]) & small_tokenizer.eos
    if "<|end|>" not in solution:
        assert small_tokenizer.decode(reply) == solution


def test_what_a_template_writes_after_the_end_is_not_learned(small_tokenizer: Tokenizer) -> None:
    template = small_tokenizer.chat_template
    assert template is not None
    trailing = replace(small_tokenizer, chat_template=template.replace("<|end|>{%", "<|end|>\n{%"))
    talk = conversation(trailing, "Tom has 3 apples.", "3")
    assert len(talk.tokens) == talk.end + 1
    assert sft_example(trailing, "Tom has 3 apples.", "3") == sft_example(
        small_tokenizer, "Tom has 3 apples.", "3"
    )


def test_a_template_that_rewrites_the_prompt_is_refused(small_tokenizer: Tokenizer) -> None:
    fickle = "{% if messages|length > 1 %}<|user|>{% endif %}" + str(small_tokenizer.chat_template)
    with pytest.raises(UserError, match="would not match decoding"):
        sft_example(replace(small_tokenizer, chat_template=fickle), "Tom", "3")


def test_a_problem_without_a_solution_is_named(small_tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="problem p7 has no reference solution"):
        sft_examples(small_tokenizer, [Problem("p7", "Tom", "3", "word_problems")])


def test_batches_hold_every_problem(small_tokenizer: Tokenizer, sums: list[Problem]) -> None:
    examples = sft_examples(small_tokenizer, sums)
    batches, per_epoch = example_batches(examples, small_tokenizer.pad, max_tokens=200, seed=0)
    micro = [batch for step in range(per_epoch) for batch in batches(step)]
    assert sum(batch.tokens.shape[0] for batch in micro) == len(sums)
    assert all(batch.tokens.numel() <= 200 for batch in micro)
