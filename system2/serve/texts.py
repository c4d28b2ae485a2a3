"""Tokens to text as they come: whole characters, and nothing that a stop text may still take.

Place in the flow: `app` has a `TextStream` for each draw of a request that is streamed; the
pieces of a draw, joined, are the text that it would have been given at once.
"""

from collections.abc import Iterable, Sequence

from system2.core import Completion
from system2.engine.tokenizer import Tokenizer

_BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What a decoder writes for bytes that are no character, or not yet."""


def text_of(tokenizer: Tokenizer, completion: Completion, stop: Sequence[str]) -> str:
    """Return a completion's text, cut before the first stop text in it.

    >>> cut_before("a\\nb", ["b", "\\n"])
    'a'
    """
    return cut_before(tokenizer.decode(completion.tokens), stop)


def cut_before(text: str, stop: Sequence[str]) -> str:
    """Return what stands before the first of the stop texts."""
    ends = [at for one in stop if (at := text.find(one)) >= 0]
    return text[: min(ends)] if ends else text


class Pieces:
    """The text that each further token adds: "" until it is a whole character.

    A few of the last tokens are decoded again with each new one, since how a token reads
    depends on those before it (a leading space, part of a character).
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._start = self._end = 0  # text up to _end is given; decoding starts at _start

    def add(self, token: int) -> str:
        """Return the text that a token adds to what was given."""
        self._tokens.append(token)
        given = self._tokenizer.decode(self._tokens[self._start : self._end])
        now = self._tokenizer.decode(self._tokens[self._start :])
        if now.endswith(_BROKEN):
            return ""
        if len(now) > len(given):
            self._start = self._end
        self._end = len(self._tokens)
        return now[len(given) :]

    def would_add(self, tokens: Iterable[int]) -> list[str]:
        """Return the text that each of some tokens would add if it came next."""
        near = self._tokens[self._start :]
        given = len(self._tokenizer.decode(self._tokens[self._start : self._end]))
        texts = [self._tokenizer.decode([*near, token]) for token in tokens]
        return ["" if text.endswith(_BROKEN) else text[given:] for text in texts]


def pieces_of(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[str]:
    """Return the text that each token adds; joined, they are the text (what is broken aside)."""
    pieces = Pieces(tokenizer)
    return [pieces.add(token) for token in tokens]


class TextStream:
    """One draw's text as it grows; ends before the first of the texts in `stop`."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self._pieces = Pieces(tokenizer)
        self._sent = ""
        self._held = ""  # may be the beginning of a stop text
        self._is_ended = False

    def add(self, tokens: Sequence[int]) -> str:
        """Return the text that is certain after these tokens and was not before."""
        if self._is_ended:
            return ""
        text = self._held + "".join(self._pieces.add(token) for token in tokens)
        certain = cut_before(text, self._stop)
        self._is_ended = len(certain) < len(text)
        if not self._is_ended:
            certain = certain[: len(certain) - _num_held(certain, self._stop)]
        self._held = text[len(certain) :]
        self._sent += certain
        return certain

    def end(self, completion: Completion) -> str:
        """Return what is left of the text once the whole of it is known."""
        whole = text_of(self._tokenizer, completion, self._stop)
        return whole[len(self._sent) :] if whole.startswith(self._sent) else ""


def _num_held(text: str, stop: Sequence[str]) -> int:
    """Return how many last characters may be the beginning of a stop text."""
    longest = max(map(len, stop), default=1) - 1
    return next(
        (
            count
            for count in range(min(longest, len(text)), 0, -1)
            if any(one.startswith(text[-count:]) for one in stop)
        ),
        0,
    )
