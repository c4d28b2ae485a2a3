"""Llama 3's own tokenizer file (`tokenizer.model`) as a Hugging Face tokenizer folder.

Meta publishes the tokenizer as a list of byte strings with their ranks (tiktoken's format), the
checkpoints on the hub as `tokenizer.json`. Both cut a text alike: bytes are merged two by two,
always the pair first whose union has the lowest rank. `tokenizer.json` names pairs, not unions,
so every way to cut a token into two tokens becomes a merge of that token's rank.

The chat template is the one that LLM2's data was made with (arXiv 2412.20372): no system block,
no date, so that a prompt is the same tokens every day.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, pre_tokenizers, processors
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import BPE

from system2.core import UserError
from system2.engine.weights import write_folder

MAX_FILE_BYTES = 64 * 2**20
MAX_TOKEN_BYTES = 1024
"""What is longer is no tokenizer: a token of n bytes is cut in n - 1 ways."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Llama 3's pieces, inside which bytes are merged: words, numbers of up to 3 digits, signs."""

NAMED_SPECIALS = {
    0: "<|begin_of_text|>",
    1: "<|end_of_text|>",
    4: "<|finetune_right_pad_id|>",
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    8: "<|eom_id|>",
    9: "<|eot_id|>",
    10: "<|python_tag|>",
}
NUM_SPECIALS = 256
"""Special tokens follow the ranks; those without a name are reserved, and numbered."""

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] }}<|eot_id|>"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Return the tokens of a tiktoken file with their ranks, which are their ids.

    Raises: `UserError` naming the line, where the file is not one: a base64 token and its
    rank a line, ranks from 0 without a gap, every single byte among the tokens.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing; name a tiktoken file (Llama 3's tokenizer.model)")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UserError(f"{path}: larger than {MAX_FILE_BYTES} bytes; that is no tokenizer")
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            text, rank = line.split()
            token = base64.b64decode(text, validate=True)
            is_next = int(rank) == len(ranks)
        except (ValueError, binascii.Error) as error:
            raise UserError(f"{path}, line {number}: not a base64 token and its rank") from error
        if not is_next or token in ranks or not 0 < len(token) <= MAX_TOKEN_BYTES:
            raise UserError(f"{path}, line {number}: not a new token of rank {len(ranks)}")
        ranks[token] = len(ranks)
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise UserError(f"{path}: byte {missing[0]} is no token; the file is incomplete")
    return ranks


def llama3_tokenizer(ranks: Mapping[bytes, int]) -> RustTokenizer:
    """Return Llama 3's tokenizer over the tokens of a tiktoken file."""
    written = {token: _written(token) for token in ranks}
    vocabulary = {written[token]: rank for token, rank in ranks.items()}
    merges = [
        (written[token[:cut]], written[token[cut:]])
        for token in sorted(ranks, key=ranks.__getitem__)
        for cut in sorted(
            (n for n in range(1, len(token)) if token[:n] in ranks and token[n:] in ranks),
            key=lambda n: (ranks[token[:n]], ranks[token[n:]]),
        )
    ]
    # a piece that is a token stays whole, whichever merges would lead there
    tokenizer = RustTokenizer(BPE(vocabulary, merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = special_tokens()
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in specials])
    begin = specials[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A",
        pair=f"{begin} $A {begin}:1 $B:1",
        special_tokens=[(begin, len(ranks))],
    )
    return tokenizer


def special_tokens() -> list[str]:
    """Return the texts of the special tokens, in order of id (names as on the hub)."""
    reserved = iter(range(NUM_SPECIALS))
    return [
        NAMED_SPECIALS.get(i) or f"<|reserved_special_token_{next(reserved)}|>"
        for i in range(NUM_SPECIALS)
    ]


def write_llama3_tokenizer(source: Path, folder: Path) -> None:
    """Write the tokenizer folder of a tiktoken file: `tokenizer.json`, settings, chat template.

    Whole or not at all. Raises: `UserError` where the source is no such file.
    """
    tokenizer = llama3_tokenizer(read_ranks(source))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<|finetune_right_pad_id|>",
        "clean_up_tokenization_spaces": False,
    }
    ends = ("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>")
    generation = {
        "bos_token_id": tokenizer.token_to_id("<|begin_of_text|>"),
        "eos_token_id": [tokenizer.token_to_id(text) for text in ends],
        "pad_token_id": tokenizer.token_to_id("<|finetune_right_pad_id|>"),
    }
    write_folder(
        folder,
        {
            "tokenizer.json": tokenizer.to_str().encode(),
            "tokenizer_config.json": json.dumps(settings, indent=2).encode(),
            "chat_template.jinja": CHAT_TEMPLATE.encode(),
            "generation_config.json": json.dumps(generation, indent=2).encode(),
        },
    )


def _printable_bytes() -> list[str]:
    """Return a printable character for each byte, as byte-level tokenizers write them."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


_CHARACTERS = _printable_bytes()


def _written(token: bytes) -> str:
    """Return a token's bytes as `tokenizer.json` writes them."""
    return "".join(_CHARACTERS[byte] for byte in token)
