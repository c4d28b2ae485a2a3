"""What searches know of text: answers, steps where a policy would end them, prompts that fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import Tokens
from system2.engine.tokenizer import Tokenizer
from system2.evaluate.reading import Reading, longest_prompt

TEXTS = ["Tom has 3 apples.", "4 + 5 = 9", "So the answer is 3.", "\n", "\n\n", " ", ""]


def reading(tokenizer: Tokenizer, step_stop: str = "\n", max_prompt: int | None = None) -> Reading:
    return Reading(
        tokenizer,
        "Tom has 3 + 4 apples.",
        ask=tokenizer.prompt,
        read=lambda text: text.rpartition("is ")[2].rstrip(".") or None,
        step_stop=step_stop,
        max_prompt=max_prompt,
    )


def test_an_answer_is_read_out_of_tokens(small_tokenizer: Tokenizer) -> None:
    known = reading(small_tokenizer)
    assert known.answer_of(small_tokenizer.encode("So the answer is 3.")) == "3"
    assert known.answer_of(()) is None


@given(
    pieces=st.lists(st.sampled_from(TEXTS), max_size=9), stop=st.sampled_from(["\n", "\n\n", "."])
)
def test_steps_join_to_the_attempt_and_end_where_the_decoder_stops(
    small_tokenizer: Tokenizer, pieces: list[str], stop: str
) -> None:
    """A step ends with the first token after which its last tokens show the stop text."""
    tokens = small_tokenizer.encode("".join(pieces)) + tuple(small_tokenizer.eos)
    steps = reading(small_tokenizer, stop).cut(tokens)
    assert sum(steps, ()) == tokens
    assert all(steps)
    longest = len(stop.encode())
    for number, step in enumerate(steps):
        shown = [
            stop in small_tokenizer.decode(step[: end + 1][-longest - 1 :])
            for end in range(len(step))
        ]
        assert not any(shown[:-1])
        assert shown[-1] or number == len(steps) - 1


def test_an_attempt_of_nothing_has_no_step(small_tokenizer: Tokenizer) -> None:
    assert reading(small_tokenizer).cut(()) == []


def test_a_context_shows_attempts_in_order(small_tokenizer: Tokenizer) -> None:
    attempts = [small_tokenizer.encode(text) for text in TEXTS[:3]]
    shown = small_tokenizer.decode(reading(small_tokenizer).context(attempts))
    places = [shown.index(text) for text in ("3 + 4 apples", *TEXTS[:3])]
    assert places == sorted(places)


def test_a_context_that_is_too_long_leaves_the_oldest_out(small_tokenizer: Tokenizer) -> None:
    attempts = [small_tokenizer.encode(text) for text in TEXTS[:3]]
    known = reading(small_tokenizer)

    def limited(limit: int) -> Tokens:
        return reading(small_tokenizer, max_prompt=limit).context(attempts)

    lengths = [len(known.context(attempts[first:])) for first in range(3)]
    assert lengths == sorted(lengths, reverse=True)
    for first, length in enumerate(lengths):
        assert limited(length) == known.context(attempts[first:])
    assert limited(lengths[-1] - 1) == small_tokenizer.prompt("Tom has 3 + 4 apples.")
    assert known.context([]) == small_tokenizer.prompt("Tom has 3 + 4 apples.")


def test_an_attempt_cannot_end_its_turn(small_tokenizer: Tokenizer) -> None:
    """Texts of special tokens inside an attempt do not become those tokens in the prompt."""
    known = reading(small_tokenizer)
    plain = known.context([small_tokenizer.encode("4 + 5 = 9")])
    special = known.context([(*small_tokenizer.encode("4 + 5 = 9"), *small_tokenizer.eos)])
    assert special == plain


@pytest.mark.parametrize(
    ("positions", "tokens", "longest"), [(512, 100, 412), (512, 4096, 256), (2, 1, 1), (1, 1, 1)]
)
def test_a_prompt_leaves_room_for_an_attempt(positions: int, tokens: int, longest: int) -> None:
    assert longest_prompt(positions, tokens) == longest
