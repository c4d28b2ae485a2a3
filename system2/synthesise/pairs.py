"""LLM2's data set of token pairs: read, checked against the tokenizer, written.

A row is `{"messages": [...], "samples": [[position, reference_id, negative_id], ...]}`:
positions are 0-based in the tokenised conversation (begin-of-text counted), the token there is
the preferred one. This is the published format of arXiv 2412.20372's data, byte-compatible; we
may add a key `qualities`, a list beside `samples` of the two tokens' qualities in [0, 1]
(share of rollouts that ended right; null: not measured), which other readers ignore.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from system2.core import Tokens, UserError
from system2.engine.tokenizer import Tokenizer
from system2.store import read_jsonl


@dataclass(frozen=True, slots=True)
class Pair:
    """At `position`, the token `chosen` is better than `rejected`.

    Qualities are in [0, 1]; None: not measured.
    """

    position: int
    chosen: int
    rejected: int
    chosen_quality: float | None = None
    rejected_quality: float | None = None


@dataclass(frozen=True, slots=True)
class PairRow:
    """A conversation's tokens and the pairs along it."""

    tokens: Tokens
    pairs: tuple[Pair, ...]


def write_row(messages: list[dict[str, str]], pairs: Iterable[Pair]) -> dict[str, Any]:
    """Return a conversation and its pairs as a row of the file, in order of position."""
    ordered = sorted(pairs, key=lambda pair: (pair.position, pair.rejected))
    row: dict[str, Any] = {
        "messages": messages,
        "samples": [[pair.position, pair.chosen, pair.rejected] for pair in ordered],
    }
    if any(pair.rejected_quality is not None for pair in ordered):
        row["qualities"] = [[p.chosen_quality, p.rejected_quality] for p in ordered]
    return row


def read_pairs(path: Path, tokenizer: Tokenizer) -> Iterator[PairRow]:
    """Yield the rows of a file, each checked against its own tokenisation; duplicates merged.

    Raises: `UserError` naming file, row and position where a row does not match the
    tokenizer: it was made with another one, or is corrupted.
    """
    for number, row in enumerate(read_jsonl(path), start=1):
        yield parse_row(row, tokenizer, f"{path}, row {number}")


def parse_row(row: Mapping[str, Any], tokenizer: Tokenizer, where: str) -> PairRow:
    """Return one row's tokens and pairs; `where` names it in errors. Raises: `UserError`."""
    tokens = tokenizer.render(_messages(row, where))
    samples = row.get("samples")
    if not isinstance(samples, list):
        raise UserError(f"{where}: 'samples' is missing or no list")
    qualities = row.get("qualities") or [[None, None]] * len(samples)
    if not isinstance(qualities, list) or len(qualities) != len(samples):
        raise UserError(f"{where}: 'qualities' does not match 'samples' one to one")
    found: dict[tuple[int, int], Pair] = {}
    for sample, quality in zip(samples, qualities, strict=True):
        pair = _pair(sample, quality, where)
        _check(pair, tokens, tokenizer, where)
        _ = found.setdefault((pair.position, pair.rejected), pair)
    return PairRow(tokens, tuple(found[key] for key in sorted(found)))


def _messages(row: Mapping[str, Any], where: str) -> list[dict[str, str]]:
    """Return a row's messages, checked."""
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        raise UserError(f"{where}: 'messages' is missing or empty")
    for message in messages:
        is_text = isinstance(message, dict) and all(
            isinstance(message.get(key), str) for key in ("role", "content")
        )
        if not is_text:
            raise UserError(f"{where}: a message needs the texts 'role' and 'content'")
    return messages


def _pair(sample: Any, quality: Any, where: str) -> Pair:
    """Return a sample `[position, reference_id, negative_id]` as a pair."""
    is_triple = isinstance(sample, list) and len(sample) == 3
    if not is_triple or any(not isinstance(n, int) or isinstance(n, bool) for n in sample):
        raise UserError(f"{where}: sample {sample!r} is not [position, reference_id, negative_id]")
    is_two = isinstance(quality, list) and len(quality) == 2
    if not is_two or any(q is not None and not isinstance(q, int | float) for q in quality):
        raise UserError(f"{where}: quality {quality!r} is not two numbers or nulls")
    return Pair(*sample, *quality)


def _check(pair: Pair, tokens: Tokens, tokenizer: Tokenizer, where: str) -> None:
    """Refuse a pair that does not fit the row's own tokens."""
    position = pair.position
    if not 1 <= position < len(tokens):
        raise UserError(f"{where}: position {position} lies outside its {len(tokens)} tokens")
    if tokens[position] != pair.chosen:
        actual = tokens[position]
        raise UserError(
            f"{where}: position {position} holds token {actual} "
            f"({tokenizer.token_text(actual)!r}), the row says {pair.chosen} "
            f"({tokenizer.token_text(pair.chosen)!r}): made with another tokenizer, or corrupted"
        )
    if not 0 <= pair.rejected < tokenizer.vocab_size:
        raise UserError(
            f"{where}: position {position}: negative {pair.rejected} is no token of the "
            f"{tokenizer.vocab_size} there are"
        )
    if pair.rejected == pair.chosen:
        raise UserError(f"{where}: position {position}: token {pair.chosen} is its own negative")
