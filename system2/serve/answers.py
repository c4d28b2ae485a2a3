"""What is sent back: completions as the JSON of the OpenAI API, whole or in pieces."""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from system2.core import Completion, Tokens
from system2.engine.tokenizer import Tokenizer
from system2.serve.requests import Ask, Served
from system2.serve.texts import Pieces, TextStream, pieces_of, text_of

DONE = b"data: [DONE]\n\n"
"""What ends a stream."""


def event(body: Mapping[str, Any]) -> bytes:
    """Return an event of a stream."""
    return b"data: " + json.dumps(body, ensure_ascii=False, allow_nan=False).encode() + b"\n\n"


def usage(ask: Ask, num_drawn: int) -> dict[str, int]:
    """Return what a request cost, in tokens; prompts count once, whatever n is."""
    prompt = sum(map(len, ask.request.prefixes))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": num_drawn,
        "total_tokens": prompt + num_drawn,
    }


def head(ask: Ask, served: Served, *, is_chunk: bool = False) -> dict[str, Any]:
    """Return what every answer begins with."""
    is_chat = ask.kind == "chat"
    kind = "chat.completion" if is_chat else "text_completion"
    return {
        "id": ("chatcmpl-" if is_chat else "cmpl-") + secrets.token_hex(12),
        "object": "chat.completion.chunk" if is_chat and is_chunk else kind,
        "created": int(time.time()),
        "model": served.name,
    }


def whole(ask: Ask, served: Served, drawn: Sequence[Sequence[Completion]]) -> dict[str, Any]:
    """Return the answer to a request that is not streamed, of completions `[p][i]`."""
    flat = [completion for completions in drawn for completion in completions]
    choices = [_choice(ask, served.tokenizer, i, one) for i, one in enumerate(flat)]
    return {
        **head(ask, served),
        "choices": choices,
        "usage": usage(ask, sum(len(one.tokens) for one in flat)),
    }


def _choice(ask: Ask, tokenizer: Tokenizer, index: int, drawn: Completion) -> dict[str, Any]:
    text = text_of(tokenizer, drawn, ask.request.params.stop)
    said = (
        {"message": {"role": "assistant", "content": text}}
        if ask.kind == "chat"
        else {"text": text}
    )
    logprobs = None
    if ask.has_logprobs:
        pieces = pieces_of(tokenizer, drawn.tokens)
        logprobs = _logprobs(ask, pieces, drawn.logprobs, 0)
    choice = {"index": index, **said, "logprobs": logprobs, **_ending(ask, drawn, text, tokenizer)}
    if ask.has_token_ids:
        prefix = ask.request.prefixes[index // ask.request.n]
        choice |= {"prompt_token_ids": list(prefix), "token_ids": list(drawn.tokens)}
    return choice


def _ending(ask: Ask, drawn: Completion, text: str, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return why a draw ended; `stop_reason` is the stop text that ended it, None for the model."""
    if drawn.finish_reason == "length":
        return {"finish_reason": "length", "stop_reason": None}
    rest = tokenizer.decode(drawn.tokens)[len(text) :]
    stop = next((one for one in ask.request.params.stop if rest.startswith(one)), None)
    return {"finish_reason": "stop", "stop_reason": stop if drawn.finish_reason == "stop" else None}


def _logprobs(
    ask: Ask, pieces: Sequence[str], logprobs: Sequence[float], offset: int
) -> dict[str, Any]:
    """Return the drawn tokens and their log-probabilities; `offset` letters stand before them."""
    if ask.kind == "chat":
        content = [
            {"token": piece, "logprob": lp, "bytes": list(piece.encode()), "top_logprobs": []}
            for piece, lp in zip(pieces, logprobs, strict=True)
        ]
        return {"content": content, "refusal": None}
    return {
        "tokens": list(pieces),
        "token_logprobs": list(logprobs),
        "top_logprobs": [{piece: lp} for piece, lp in zip(pieces, logprobs, strict=True)],
        "text_offset": list(accumulate(map(len, pieces), initial=offset))[:-1],
    }


@dataclass(slots=True)
class Chunks:
    """The events of one streamed request; draws are numbered p * n + i."""

    ask: Ask
    served: Served
    num_drawn: int = 0
    _head: dict[str, Any] = field(default_factory=dict[str, Any])
    _texts: list[TextStream] = field(default_factory=list[TextStream])
    _pieces: list[Pieces] = field(default_factory=list[Pieces])
    _offsets: list[int] = field(default_factory=list[int])

    def __post_init__(self) -> None:
        count = self.ask.request.n * len(self.ask.request.prefixes)
        stop, tokenizer = self.ask.request.params.stop, self.served.tokenizer
        self._head = head(self.ask, self.served, is_chunk=True)
        self._texts = [TextStream(tokenizer, stop) for _ in range(count)]
        self._pieces = [Pieces(tokenizer) for _ in range(count)]
        self._offsets = [0] * count

    def first(self) -> list[bytes]:
        """Return the events that come before any text."""
        if self.ask.kind != "chat":
            return []
        said = {"role": "assistant", "content": ""}
        return [self._event(i, said) for i in range(len(self._texts))]

    def more(self, number: int, tokens: Tokens, logprobs: Sequence[float]) -> bytes | None:
        """Return the event of a draw's new tokens, None where they show nothing yet."""
        self.num_drawn += len(tokens)
        text = self._texts[number].add(tokens)
        if not (text or self.ask.has_logprobs or self.ask.has_token_ids):
            return None
        found = None
        if self.ask.has_logprobs:
            pieces = [self._pieces[number].add(token) for token in tokens]
            found = _logprobs(self.ask, pieces, logprobs, self._offsets[number])
            self._offsets[number] += sum(map(len, pieces))
        return self._event(number, self._said(text), found, tokens)

    def end(self, number: int, drawn: Completion) -> bytes:
        """Return a draw's last event."""
        tokenizer = self.served.tokenizer
        text = text_of(tokenizer, drawn, self.ask.request.params.stop)
        said = self._said(self._texts[number].end(drawn))
        ending = _ending(self.ask, drawn, text, tokenizer)
        return self._event(number, said, None, (), ending)

    def last(self) -> list[bytes]:
        """Return the events that come after all draws have ended."""
        spent = usage(self.ask, self.num_drawn)
        found = [event({**self._head, "choices": [], "usage": spent})] if self.ask.has_usage else []
        return [*found, DONE]

    def _said(self, text: str) -> dict[str, Any]:
        return {"content": text} if self.ask.kind == "chat" else {"text": text}

    def _event(
        self,
        number: int,
        said: Mapping[str, Any],
        logprobs: Mapping[str, Any] | None = None,
        tokens: Tokens = (),
        ending: Mapping[str, Any] | None = None,
    ) -> bytes:
        shown = {"delta": dict(said)} if self.ask.kind == "chat" else dict(said)
        choice: dict[str, Any] = {
            "index": number,
            **shown,
            "logprobs": logprobs,
            **(ending or {"finish_reason": None}),
        }
        if self.ask.has_token_ids:
            choice["token_ids"] = list(tokens)
        return event({**self._head, "choices": [choice]})
