"""Make a word and whole-number tokenizer from texts: for models of a few million parameters.

Every word of the texts and every whole number up to a limit is one token, with the space
before it; at this size whole-number tokens learn several times faster than digits. It is still
a tokenizer for any text: what it does not know falls apart into characters, then bytes, and
decoding gives the text back exactly.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from system2.engine.weights import write_folder

SPACE = "\u2581"
"""How the vocabulary writes the space before a word (SentencePiece's sign)."""

SPECIALS = ("<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def word_vocabulary(texts: Iterable[str], *, max_number: int, max_bare_number: int) -> list[str]:
    """Return the pieces: specials, bytes, characters, numbers, then the texts' words sorted.

    Numbers 0 to `max_number` have a piece with a space before them, those to
    `max_bare_number` one without (after a bracket).
    """
    words: set[str] = set()
    for text in texts:
        words.update(re.findall(r" ?[^\W\d_]+(?:'[a-z]+)?| ?[^\w\s]", text))
    pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces += ["\n", SPACE] + [chr(code) for code in range(33, 127)]
    pieces += [f"{SPACE}{n}" for n in range(max_number + 1)]
    pieces += [str(n) for n in range(10, max_bare_number + 1)]
    known = set(pieces)
    pieces += sorted({word.replace(" ", SPACE) for word in words} - known)
    return [*SPECIALS, *pieces]


def write_word_tokenizer(folder: Path, vocabulary: list[str]) -> None:
    """Write a tokenizer folder (`tokenizer.json` and its settings, with a chat template)."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    # equal scores: the segmentation with the fewest pieces wins, so a known word stays whole
    scored = [(piece, -10.0) for piece in vocabulary]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("\n"), "isolated"),
            pre_tokenizers.Metaspace(SPACE, prepend_scheme="never", split=True),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Metaspace(SPACE, prepend_scheme="never"),
            decoders.Fuse(),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIALS])
    end, pad = "<|end|>", "<|pad|>"
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": end,
        "pad_token": pad,
        "clean_up_tokenization_spaces": False,
    }
    ids = {"eos_token_id": tokenizer.token_to_id(end), "pad_token_id": tokenizer.token_to_id(pad)}
    write_folder(
        folder,
        {
            "tokenizer.json": tokenizer.to_str().encode(),
            "tokenizer_config.json": json.dumps(settings, indent=2).encode(),
            "chat_template.jinja": CHAT_TEMPLATE.encode(),
            "generation_config.json": json.dumps(ids, indent=2).encode(),
        },
    )
