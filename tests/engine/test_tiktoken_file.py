"""Llama 3's tokenizer file as `tokenizer.json`: equal to llama-models' own reading of it."""

import base64
import json
import random
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import UserError
from system2.engine.tiktoken_file import (
    NUM_SPECIALS,
    SPLIT,
    llama3_tokenizer,
    read_ranks,
    special_tokens,
    write_llama3_tokenizer,
)
from system2.engine.tokenizer import Tokenizer, load_tokenizer

FRAGMENTS = (
    "Hello", " world", "\n", "\n\n", "  ", "\t", "'s", "'LL", "don't", "123456789", "12 345", "é",
    "中文字", "日本語", "🙂", "👩‍👩‍👧", "def f(x):\n    return x**2\n", "   \n  \n x",
    "!!!", "...", "—", "ß", "İ", "ﬁ", "a\u0301", "\u200b", "\u00a0", "\r\n", "\r", "x=1;", "</s>",
    "ſ", "ＡＢＣ", "٣٤٥", "½", "\x00", "\x7f", "한국어", "$1,234.56", "\\frac{1}{2}",
)  # fmt: skip


@pytest.fixture(scope="module")
def source() -> Path:
    package = find_spec("llama_models")
    assert package is not None, "the test extra installs llama-models"
    assert package.origin is not None
    return Path(package.origin).parent / "llama3" / "tokenizer.model"


@pytest.fixture(scope="module")
def ours(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("llama3") / "tokenizer"
    write_llama3_tokenizer(source, folder)
    return load_tokenizer(folder)


@pytest.fixture(scope="module")
def theirs() -> Callable[[str], tuple[int, ...]]:
    from llama_models.llama3.tokenizer import Tokenizer as LlamaTokenizer

    tokenizer: Any = LlamaTokenizer.get_instance()
    return lambda text: tuple(tokenizer.encode(text, bos=False, eos=False))


@settings(max_examples=300, deadline=None)
@given(text=st.text() | st.lists(st.sampled_from(FRAGMENTS)).map("".join))
def test_any_text_is_cut_alike(
    text: str, ours: Tokenizer, theirs: Callable[[str], tuple[int, ...]]
) -> None:
    tokens = ours.encode(text)
    assert tokens == theirs(text)
    assert ours.decode(tokens) == text


def test_real_problems_are_cut_alike(
    shared_data: Path, ours: Tokenizer, theirs: Callable[[str], tuple[int, ...]]
) -> None:
    for path in sorted((shared_data / "gsm8k").glob("*.jsonl")):
        with path.open(encoding="utf-8") as file:
            text = "".join(line for _, line in zip(range(100), file, strict=False))
        assert ours.encode(text) == theirs(text)


def test_specials_stand_where_llama_models_has_them(ours: Tokenizer) -> None:
    from llama_models.llama3.tokenizer import Tokenizer as LlamaTokenizer

    known: dict[str, int] = LlamaTokenizer.get_instance().special_tokens
    names = special_tokens()
    assert ours.vocab_size == 128_256
    assert len(set(names)) == NUM_SPECIALS
    for text, token in known.items():
        if "reserved" not in text and text not in ("<|step_id|>", "<|image|>"):
            assert ours.encode(text) == (token,)  # the hub calls those two reserved
    assert ours.bos == known["<|begin_of_text|>"]
    assert ours.eos == {known[t] for t in ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")}
    assert ours.pad == known["<|finetune_right_pad_id|>"]


def test_transformers_reads_the_folder_alike(ours: Tokenizer) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(ours.folder)
    text = "".join(FRAGMENTS)
    assert tuple(tokenizer.encode(text)) == (ours.bos, *ours.encode(text))
    assert tokenizer.decode(ours.encode(text)) == text
    chat = [{"role": "user", "content": text}, {"role": "assistant", "content": "So 3."}]
    rendered = tokenizer.apply_chat_template(chat, tokenize=False)
    assert rendered == ours.render_text(chat)
    assert rendered.startswith("<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n")
    assert rendered.endswith("<|end_header_id|>\n\nSo 3.<|eot_id|>")


def bpe_file(path: Path, num_merges: int, seed: int) -> dict[bytes, int]:
    """Write a small tiktoken file over the letters a to d, made as training makes one."""
    rng = random.Random(seed)
    tokens = [bytes([byte]) for byte in range(256)]
    letters = [b"a", b"b", b"c", b"d", b" "]
    for _ in range(num_merges):
        union = rng.choice(letters) + rng.choice(letters)
        if union not in letters:
            letters.append(union)
            tokens.append(union)
    lines = [b"%s %d" % (base64.b64encode(token), rank) for rank, token in enumerate(tokens)]
    _ = path.write_bytes(b"\n".join(lines) + b"\n")
    return {token: rank for rank, token in enumerate(tokens)}


@pytest.mark.parametrize("seed", range(5))
def test_any_ranks_merge_as_tiktoken_merges(seed: int, tmp_path: Path) -> None:
    ranks = bpe_file(tmp_path / "ranks", 60, seed)
    assert read_ranks(tmp_path / "ranks") == ranks
    ours = llama3_tokenizer(ranks)
    theirs = tiktoken.Encoding("small", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens={})
    rng = random.Random(seed)
    for _ in range(300):
        text = "".join(rng.choice("aabbcd ") for _ in range(rng.randrange(30)))
        assert ours.encode(text, add_special_tokens=False).ids == theirs.encode(text)


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines()


def test_a_broken_file_is_one_line_that_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "ranks"
    with pytest.raises(UserError, match="is missing"):
        _ = read_ranks(path)
    _ = bpe_file(path, 5, 0)
    whole = lines_of(path)
    twice = base64.b64encode(b"a") + b" 256"
    faults: dict[str, list[bytes]] = {
        "line 7: not a base64": [*whole[:6], b"\x00\xff binary sentencepiece", *whole[6:]],
        "line 3: not a base64": [*whole[:2], b"IQ==", *whole[2:]],
        "line 4: not a base64": [*whole[:3], b"I*Q= 3", *whole[4:]],
        "line 5: not a base64": [*whole[:4], b"IQ== four", *whole[5:]],
        "line 6: not a base64": [*whole[:5], b"IQ== " + b"9" * 5000, *whole[6:]],
        "line 2: not a new token of rank 1": [whole[0], *whole[2:]],
        "line 257: not a new token of rank 256": [*whole[:256], twice],
        "line 258: not a new token": [*whole[:257], base64.b64encode(b"a" * 2000) + b" 257"],
        "byte 9 is no token": [
            line.split()[0] + b" %d" % i for i, line in enumerate(whole[:9] + whole[10:])
        ],
        "byte 0 is no token": [],
    }
    for message, lines in faults.items():
        _ = path.write_bytes(b"\n".join(lines))
        with pytest.raises(UserError, match=message) as caught:
            write_llama3_tokenizer(path, tmp_path / "out")
        assert str(path) in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_settings_name_no_class_of_ours(ours: Tokenizer) -> None:
    settings_of = json.loads((ours.folder / "tokenizer_config.json").read_text())
    assert settings_of["tokenizer_class"] == "PreTrainedTokenizerFast"
