"""What is sent back: completions as the JSON of the OpenAI API, whole or in pieces."""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from system2.core import Alternatives, Completion, Tokens
from system2.engine.tokenizer import Tokenizer
from system2.serve.loop import Drawn
from system2.serve.requests import Ask, Served
from system2.serve.search import Found
from system2.serve.texts import Pieces, TextStream, text_of

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


def comment(text: str) -> bytes:
    """Return what keeps a stream alive; clients read over it."""
    return f": {text}\n\n".encode()


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
        told = _told(Pieces(tokenizer), drawn.tokens, drawn.logprobs, drawn.alternatives)
        logprobs = _logprobs(ask, told, 0)
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


@dataclass(frozen=True, slots=True)
class _Told:
    """A drawn token's text and log-probability (nats), and those of its alternatives."""

    text: str
    logprob: float
    others: Sequence[tuple[str, float]]


def _told(
    pieces: Pieces,
    tokens: Tokens,
    logprobs: Sequence[float],
    alternatives: Sequence[Alternatives],
) -> list[_Told]:
    """Return what is told of the next drawn tokens of a text; `pieces` goes on over them."""
    found: list[_Told] = []
    for place, (token, logprob) in enumerate(zip(tokens, logprobs, strict=True)):
        others = alternatives[place] if alternatives else ()
        texts = pieces.would_add(other for other, _ in others)
        pairs = [
            (text, logprob if other == token else value)  # the same to the last digit
            for text, (other, value) in zip(texts, others, strict=True)
        ]
        found.append(_Told(pieces.add(token), logprob, pairs))
    return found


def _logprobs(ask: Ask, told: Sequence[_Told], offset: int) -> dict[str, Any]:
    """Return drawn tokens as the API tells them; `offset` letters stand before them."""
    if ask.kind == "chat":
        content = [
            {
                **_entry(one.text, one.logprob),
                "top_logprobs": [_entry(*pair) for pair in one.others],
            }
            for one in told
        ]
        return {"content": content, "refusal": None}
    return {
        "tokens": [one.text for one in told],
        "token_logprobs": [one.logprob for one in told],
        "top_logprobs": [_by_text(one) for one in told],
        "text_offset": list(accumulate((len(one.text) for one in told), initial=offset))[:-1],
    }


def _entry(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _by_text(told: _Told) -> dict[str, float]:
    """Return a place's alternatives by text, the drawn one among them.

    Of several with the same text the likeliest is told.
    """
    found: dict[str, float] = {}
    for text, logprob in (*told.others, (told.text, told.logprob)):
        _ = found.setdefault(text, logprob)
    return found


def whole_search(ask: Ask, served: Served, found: Found) -> dict[str, Any]:
    """Return the answer to a search that is not streamed."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": found.text},
        "logprobs": None,
        "finish_reason": found.finish_reason,
    }
    told = {"choices": [choice], "usage": usage(ask, found.sampled_tokens)}
    return {**head(ask, served), **told, "system2": _costs(ask, found)}


def _costs(ask: Ask, found: Found) -> dict[str, Any]:
    """Return what is told of a search beside its text."""
    assert ask.search is not None, "no search was asked for"
    told = asdict(found)
    del told["text"], told["finish_reason"]
    return {"search": ask.search.search, **told}


def _closing(ask: Ask, begun: Mapping[str, Any], num_drawn: int) -> list[bytes]:
    """Return the events that end every stream."""
    spent: dict[str, Any] = {**begun, "choices": [], "usage": usage(ask, num_drawn)}
    return [*([event(spent)] if ask.has_usage else []), DONE]


@dataclass(slots=True)
class SearchChunks:
    """The events of one streamed search: comments while it lasts, its text in one piece."""

    ask: Ask
    served: Served
    num_drawn: int = 0

    def first(self) -> list[bytes]:
        """Return the events that come before anything is known: none."""
        return []

    def more(self, num_sampled: int) -> bytes:
        """Return a comment that says how far the search has come."""
        self.num_drawn = num_sampled
        return comment(f"{num_sampled} tokens sampled")

    def ends(self, found: Found) -> list[bytes]:
        """Return the events that tell what was found."""
        self.num_drawn = found.sampled_tokens
        begun = head(self.ask, self.served, is_chunk=True)
        said = {"role": "assistant", "content": found.text}
        text = {"index": 0, "delta": said, "logprobs": None, "finish_reason": None}
        end = {**text, "delta": {}, "finish_reason": found.finish_reason}
        last = {**begun, "choices": [end], "system2": _costs(self.ask, found)}
        closing = _closing(self.ask, begun, found.sampled_tokens)
        return [event({**begun, "choices": [text]}), event(last), *closing]


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

    def more(
        self,
        number: int,
        tokens: Tokens,
        logprobs: Sequence[float],
        alternatives: Sequence[Alternatives],
    ) -> bytes | None:
        """Return the event of a draw's new tokens, None where they show nothing yet."""
        self.num_drawn += len(tokens)
        text = self._texts[number].add(tokens)
        if not (text or self.ask.has_logprobs or self.ask.has_token_ids):
            return None
        found = None
        if self.ask.has_logprobs:
            told = _told(self._pieces[number], tokens, logprobs, alternatives)
            found = _logprobs(self.ask, told, self._offsets[number])
            self._offsets[number] += sum(len(one.text) for one in told)
        return self._event(number, self._said(text), found, tokens)

    def _end(self, number: int, drawn: Completion) -> bytes:
        tokenizer = self.served.tokenizer
        text = text_of(tokenizer, drawn, self.ask.request.params.stop)
        said = self._said(self._texts[number].end(drawn))
        ending = _ending(self.ask, drawn, text, tokenizer)
        return self._event(number, said, None, (), ending)

    def ends(self, drawn: Drawn) -> list[bytes]:
        """Return the events that come when all is drawn."""
        flat = [one for completions in drawn for one in completions]
        found = [self._end(number, one) for number, one in enumerate(flat)]
        return [*found, *_closing(self.ask, self._head, self.num_drawn)]

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
