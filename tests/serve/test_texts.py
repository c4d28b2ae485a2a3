"""Text that comes in pieces is the text that would come at once, whatever the tokenizer."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from system2.core import Completion
from system2.engine.embedded import EMBEDDED
from system2.engine.tokenizer import Tokenizer, load_tokenizer
from system2.serve.texts import TextStream, cut_before, pieces_of

TEXTS = [
    "Tom has 3 apples.\nSo the answer is 3.",
    "naïve Zoë 🙂🙃 日本語 的 e\u0301",
    "= 1 \t\n\n end",
]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> list[Tokenizer]:
    """Tiny's own, and one of bytes that cuts characters in pieces."""
    rust = RustTokenizer(models.BPE())
    rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    rust.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet))
    folder = Path(tmp_path_factory.mktemp("bytes"))
    rust.save(str(folder / "tokenizer.json"))
    return [load_tokenizer(EMBEDDED["tiny"]), load_tokenizer(folder)]


@given(
    text=st.one_of(st.sampled_from(TEXTS), st.text(max_size=40)),
    stop=st.lists(st.sampled_from(["\n", "So", "🙃", "er is", "= 1 ", "e\u0301"]), max_size=3),
    which=st.integers(0, 1),
)
def test_pieces_joined_are_the_text(
    tokenizers: list[Tokenizer], text: str, stop: list[str], which: int
) -> None:
    tokenizer = tokenizers[which]
    tokens = tokenizer.encode(text)
    whole = tokenizer.decode(tokens)
    for end in range(len(tokens)):  # a draw ends with the token that completes a stop text
        if any(one in tokenizer.decode(tokens[: end + 1]) for one in stop):
            tokens = tokens[: end + 1]
            break
    stream = TextStream(tokenizer, stop)
    said = [stream.add((token,)) for token in tokens]
    completion = Completion(tokens, (0.0,) * len(tokens), "stop")
    assert all("\ufffd" not in piece for piece in said) or "\ufffd" in whole
    shown = "".join(said) + stream.end(completion)
    assert shown == cut_before(tokenizer.decode(tokens), stop)
    if not stop and "\ufffd" not in whole:
        assert "".join(pieces_of(tokenizer, tokens)) == whole


def test_a_broken_character_is_told_at_the_end(tokenizers: list[Tokenizer]) -> None:
    tokenizer = tokenizers[1]
    tokens = tokenizer.encode("日")[:1]
    stream = TextStream(tokenizer, [])
    assert stream.add(tokens) == ""
    assert stream.end(Completion(tokens, (0.0,), "length")) == "\ufffd"
