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
from typing import Any, cast

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
    tokens = tokenizer.render(_messages(row.get("messages"), where))
    samples = _items(row.get("samples"))
    if samples is None:
        raise UserError(f"{where}: 'samples' is missing or no list")
    qualities = _items(row.get("qualities") or [[None, None]] * len(samples))
    if qualities is None or len(qualities) != len(samples):
        raise UserError(f"{where}: 'qualities' does not match 'samples' one to one")
    found: dict[tuple[int, int], Pair] = {}
    for sample, quality in zip(samples, qualities, strict=True):
        pair = _pair(sample, quality, where)
        _check(pair, tokens, tokenizer, where)
        found.setdefault((pair.position, pair.rejected), pair)
    return PairRow(tokens, tuple(found[key] for key in sorted(found)))


def _items(value: object) -> list[object] | None:
    """Return a list as one of anything, None where it is none."""
    return cast(list[object], value) if isinstance(value, list) else None


def _messages(value: object, where: str) -> list[dict[str, str]]:
    """Return a row's messages, checked."""
    messages = _items(value)
    if not messages:
        raise UserError(f"{where}: 'messages' is missing or empty")
    for message in messages:
        fields = cast(dict[str, object], message) if isinstance(message, dict) else {}
        if not all(isinstance(fields.get(key), str) for key in ("role", "content")):
            raise UserError(f"{where}: a message needs the texts 'role' and 'content'")
    return cast(list[dict[str, str]], messages)


def _pair(sample: object, quality: object, where: str) -> Pair:
    """Return a sample `[position, reference_id, negative_id]` as a pair."""
    numbers = [n for n in _items(sample) or [] if isinstance(n, int) and not isinstance(n, bool)]
    if len(numbers) != 3 or numbers != sample:
        raise UserError(f"{where}: sample {sample!r} is not [position, reference_id, negative_id]")
    measured = [
        q if q is None else float(q)
        for q in _items(quality) or []
        if q is None or (isinstance(q, int | float) and 0 <= q <= 1)
    ]
    if len(measured) != 2 or len(measured) != len(_items(quality) or []):
        raise UserError(
            f"{where}: quality {quality!r} is not two numbers or nulls (numbers from 0 to 1)"
        )
    return Pair(*numbers, *measured)


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
