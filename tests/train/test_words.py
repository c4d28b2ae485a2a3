"""The word and whole-number tokenizer: any text comes back, known words stay whole."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.engine.tokenizer import Tokenizer, load_tokenizer
from system2.train.words import SPECIALS, word_vocabulary, write_word_tokenizer


@given(text=st.text(max_size=60))
def test_any_text_comes_back(small_tokenizer: Tokenizer, text: str) -> None:
    plain = text.replace("\u2581", " ")  # the vocabulary's own sign for a space
    assert small_tokenizer.decode(small_tokenizer.encode(plain)) == plain


@pytest.mark.parametrize("text", [" has", " apples", " answer", " 0", " 20", "9", " =", " *"])
def test_known_words_and_numbers_are_one_token(small_tokenizer: Tokenizer, text: str) -> None:
    assert len(small_tokenizer.encode(text)) == 1


@pytest.mark.parametrize("text", [" 21", " unknown", "\U0001f34e"])
def test_the_unknown_falls_apart(small_tokenizer: Tokenizer, text: str) -> None:
    assert len(small_tokenizer.encode(text)) > 1


def test_a_vocabulary_is_free_of_doubles_and_the_same_for_any_order_of_texts() -> None:
    texts = ["Tom has 3 apples.", "Ann's 14 pears (cost $2)"]
    one = word_vocabulary(texts, max_number=30, max_bare_number=12)
    assert len(set(one)) == len(one)
    assert tuple(one[: len(SPECIALS)]) == SPECIALS
    assert one == word_vocabulary(reversed(texts), max_number=30, max_bare_number=12)


def test_a_written_tokenizer_is_read_as_it_was(tmp_path: Path) -> None:
    vocabulary = word_vocabulary(["Tom has 3 apples."], max_number=9, max_bare_number=9)
    write_word_tokenizer(tmp_path / "made", vocabulary)
    tokenizer = load_tokenizer(tmp_path / "made")
    assert tokenizer.vocab_size == len(vocabulary)
    assert tokenizer.decode(sorted(tokenizer.eos), with_special=True) == "<|end|>"
    assert tokenizer.token_text(tokenizer.pad) == "<|pad|>"
