"""Where steps end: just where a search's draws do, whatever else a token holds beside the stop."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models

from system2.core import SampleRequest, SamplingParams, Tokens, UserError
from system2.engine.local import LocalPolicy
from system2.engine.steps import StepEnds
from system2.engine.tokenizer import Tokenizer

PIECES = ("<unk>", "<end>", "a", "b", ".", "\n", ".\n", "\n\n", ")\n\n", "b\na", " ", "é")
EOS = 1
MakeTokenizer = Callable[[Tokenizer], Tokenizer]


@pytest.fixture(scope="module")
def merging(small_tokenizer: Tokenizer) -> Tokenizer:
    """A tokenizer whose line's end is part of other tokens too."""
    rust = RustTokenizer(models.Unigram([(p, -float(1 + (len(p) == 1))) for p in PIECES], 0, False))
    rust.decoder = decoders.Fuse()  # pyright: ignore[reportAttributeAccessIssue]
    rust.add_special_tokens(["<end>"])
    return replace(small_tokenizer, rust=rust, vocab_size=len(PIECES), eos=frozenset({EOS}))


def test_a_step_ends_with_the_token_that_holds_the_stop(merging: Tokenizer) -> None:
    text = "a.\nab)\n\nb\na"
    tokens = merging.encode(text)
    assert [PIECES[token] for token in tokens] == ["a", ".\n", "a", "b", ")\n\n", "b\na"]
    step_ends = StepEnds(merging, "\n")
    assert step_ends.ends(tokens) == [2, 5, 6]
    assert [merging.decode(step) for step in step_ends.cut(tokens)] == ["a.\n", "ab)\n\n", "b\na"]
    assert step_ends.ends(()) == step_ends.cut(()) == []


def test_a_stop_may_lie_across_tokens_but_not_across_steps(merging: Tokenizer) -> None:
    newline, stop = PIECES.index("\n"), PIECES.index(".\n")
    step_ends = StepEnds(merging, "\n\n")
    assert step_ends.ends((2, newline, newline, 2, newline)) == [3]
    assert step_ends.ends((2, stop, newline, newline, newline)) == [3, 5]
    assert step_ends.ends((newline, newline, newline)) == [2]  # the third begins a new one


def test_the_end_token_ends_a_step_of_its_own(merging: Tokenizer) -> None:
    step_ends = StepEnds(merging, "\n")
    assert step_ends.ends((2, 5, 3, EOS)) == [2, 4]
    assert step_ends.ends((2, 5, EOS)) == [2, 3]
    assert step_ends.cut((2, 5, 3)) == [(2, 5), (3,)]  # the last is no whole one


def test_an_empty_stop_is_refused(merging: Tokenizer) -> None:
    with pytest.raises(UserError, match="step_stop is empty"):
        StepEnds(merging, "")


@given(
    tokens=st.lists(st.integers(0, len(PIECES) - 1), max_size=30).map(tuple),
    stop=st.sampled_from(["\n", "\n\n", ".", "a", "é", "a\n"]),
)
def test_steps_are_the_whole_and_each_but_the_last_holds_the_stop(
    merging: Tokenizer, tokens: Tokens, stop: str
) -> None:
    step_ends = StepEnds(merging, stop)
    steps = step_ends.cut(tokens)
    assert tuple(token for step in steps for token in step) == tokens
    for step in steps[:-1]:
        assert stop in merging.decode(step) or step[-1] == EOS
    for step in steps:  # at its last token, and not before
        assert stop not in merging.decode(step[:-1])
        assert EOS not in step[:-1]
    assert len(step_ends.ends(tokens)) in (len(steps), len(steps) - 1)


def test_they_are_the_ends_of_the_engines_own_draws(toy_policy: LocalPolicy) -> None:
    """A draw with the stop, and where an attempt without it is cut, are the same tokens."""
    prompts = tuple(toy_policy.tokenizer.prompt(f"Tom has {n} + 4 apples.") for n in range(6))
    for stop in (" =", "answer", "."):
        step_ends = StepEnds(toy_policy.tokenizer, stop)
        whole, first = (
            toy_policy.sample([SampleRequest(prompts, 4, SamplingParams(24, stop=stops), seed=3)])
            for stops in ((), (stop,))
        )
        pairs = [
            pair for two in zip(whole[0], first[0], strict=True) for pair in zip(*two, strict=True)
        ]
        assert any(step.finish_reason == "stop" for _, step in pairs)
        for attempt, step in pairs:
            assert step_ends.cut(attempt.tokens)[0] == step.tokens
