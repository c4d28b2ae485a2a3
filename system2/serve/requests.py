"""The bodies of requests: read as strictly as they are written, and turned into what is asked.

Place in the flow: `app` gives the bytes that came, and gets an `Ask` or an `ApiError` that
names the field. Nothing is taken and then ignored: a field that this server does not know is
refused, and so is one that it knows and cannot honour, unless its value asks for nothing.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from system2.core import SampleRequest, SamplingParams, Tokens, UserError
from system2.engine.tokenizer import Tokenizer
from system2.search.mcts import Formula
from system2.serve.errors import ApiError, invalid

HARMLESS = frozenset(
    ("user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier", "store")
)
"""Fields that say something about the caller, not about the completion: they are left out."""
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "echo": (False,),
    "suffix": ("",),
    "best_of": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
}
"""Fields that this server cannot honour, and the values with which they ask for nothing."""

MAX_TOP_LOGPROBS = {"completion": 5, "chat": 20}
"""The most alternatives to a token that may be asked for, as the API has it."""
MAX_ALTERNATIVES = 1 << 18
"""Alternatives that one answer may hold: each takes some hundred bytes of it."""
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 100.0
"""Temperatures that divide logits without leaving the numbers (0 is greedy)."""

Kind: TypeAlias = Literal["completion", "chat"]
_Whole: TypeAlias = int


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for: bytes, tokens, choices; and how many may be under way.

    `max_prompt_tokens` None: as many as the model has room for.
    """

    max_body_bytes: int = 1 << 20
    max_prompt_tokens: int | None = None
    max_tokens: int = 4096
    max_choices: int = 128
    max_requests: int = 512


@dataclass(frozen=True, slots=True)
class Served:
    """What is served: the model's name, its tokenizer and how many positions it has."""

    name: str
    tokenizer: Tokenizer
    vocab_size: int
    max_positions: int
    limits: Limits


class StreamFields(BaseModel):
    """What `stream_options` may hold."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    include_usage: bool = False


class SearchFields(BaseModel):
    """The extension field `system2`: a search with its dials, its budget in sampled tokens.

    `budget` None: as many tokens as any request may have drawn.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    search: str
    samples: _Whole | None = Field(None, ge=1)
    budget: _Whole | None = Field(None, ge=1)
    width: _Whole | None = Field(None, ge=1)
    branch: _Whole | None = Field(None, ge=1)
    max_depth: _Whole | None = Field(None, ge=1, le=1024)
    iterations: _Whole | None = Field(None, ge=1, le=1024)
    select: str | None = None
    accept: float | None = Field(None, ge=0, le=1)
    formula: Formula | None = None
    exploration: float | None = Field(None, ge=0)
    rollouts: _Whole | None = Field(None, ge=0)
    prune: float | None = Field(None, ge=0, le=1)
    weight: float | None = Field(None, ge=0)
    resample_temperature: float | None = Field(None, gt=0)
    lookahead: _Whole | None = Field(None, ge=0, le=1024)
    window: _Whole | None = Field(None, ge=1, le=1024)

    @property
    def dials(self) -> dict[str, Any]:
        """The dials that were given."""
        given = self.model_dump(exclude={"search", "budget", "select"})
        return {name: value for name, value in given.items() if value is not None}


class SamplingFields(BaseModel):
    """What both endpoints take."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
    model: str | None = None
    max_tokens: _Whole | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=MAX_TEMPERATURE)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: _Whole | None = Field(None, ge=-1, lt=1 << 31)
    n: _Whole | None = Field(None, ge=1)
    stop: str | list[str] | None = None
    seed: _Whole | None = Field(None, ge=-(1 << 63), lt=1 << 63)
    stream: bool | None = None
    stream_options: StreamFields | None = None
    return_token_ids: bool | None = None


class CompletionFields(SamplingFields):
    """The body of `/v1/completions`."""

    prompt: str | list[int] | list[str] | list[list[int]]
    logprobs: _Whole | None = Field(None, ge=0)
    add_special_tokens: bool = True


class TextPart(BaseModel):
    """A part of a message: text is all that is served."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    role: str = Field(max_length=64)
    content: str | list[TextPart]

    def text(self) -> str:
        """Return the message's text."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ChatFields(SamplingFields):
    """The body of `/v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: _Whole | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: _Whole | None = Field(None, ge=0)
    system2: SearchFields | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A request understood: what to draw, and how to answer.

    With `has_logprobs` each drawn token's is told, and those of `num_alternatives` others.
    `search` None: plain decoding; `conversation` are its messages, for a search to ask again.
    """

    kind: Kind
    request: SampleRequest
    is_streamed: bool
    has_usage: bool
    has_logprobs: bool
    num_alternatives: int
    has_token_ids: bool
    search: SearchFields | None = None
    conversation: tuple[Mapping[str, str], ...] = ()


_Fields = TypeVar("_Fields", bound=SamplingFields)


def read_ask(kind: Kind, body: bytes, served: Served) -> Ask:
    """Return what a body asks for. Raises: `ApiError` that names the field."""
    if kind == "completion":
        fields = _read(CompletionFields, body)
        prefixes = _prompts(fields, served)
        has_logprobs, wanted = fields.logprobs is not None, fields.max_tokens or 16
        search, conversation, num_alternatives = None, (), fields.logprobs or 0
    else:
        fields = _read(ChatFields, body)
        conversation = tuple({"role": m.role, "content": m.text()} for m in fields.messages)
        prefixes = (rendered(conversation, served),)
        has_logprobs, search = bool(fields.logprobs), fields.system2
        num_alternatives = fields.top_logprobs or 0
        room = max(1, served.max_positions - len(prefixes[0]))
        wanted = fields.max_completion_tokens or fields.max_tokens
        wanted = wanted or min(room, served.limits.max_tokens)
    _check_model(fields, served)
    for prefix in prefixes:
        _check_prompt(prefix, served)
    n = fields.n or 1
    if n * len(prefixes) > served.limits.max_choices:
        raise invalid(
            f"{n * len(prefixes)} choices are asked for; at most {served.limits.max_choices} "
            "a request",
            param="n",
        )
    if search is not None:
        _check_search(fields, has_logprobs)
    if num_alternatives:
        _check_alternatives(kind, num_alternatives, has_logprobs, n * len(prefixes) * wanted)
    seed = secrets.randbits(63) if fields.seed is None else fields.seed
    return Ask(
        kind=kind,
        request=SampleRequest(prefixes, n, _params(fields, wanted, served.limits), seed),
        is_streamed=bool(fields.stream),
        has_usage=fields.stream_options is not None and fields.stream_options.include_usage,
        has_logprobs=has_logprobs,
        num_alternatives=num_alternatives,
        has_token_ids=bool(fields.return_token_ids),
        search=search,
        conversation=conversation,
    )


def _read(shape: type[_Fields], body: bytes) -> _Fields:
    """Return a body as fields of a shape."""
    try:
        raw: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        said = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise invalid(f"the body is not JSON: {said}", code="invalid_json") from None
    if b"\\ud" in body.lower() and not _is_writable(raw):
        raise invalid("the body holds half a character (a lone surrogate)", code="invalid_json")
    if not isinstance(raw, dict):
        raise invalid(f"the body is JSON, but {type(raw).__name__}, not an object")
    given = {
        name: value
        for name, value in cast(dict[str, Any], raw).items()
        if name not in HARMLESS and not _asks_for_nothing(name, value, shape)
    }
    if "logprobs" in given and given["logprobs"] is False:
        del given["logprobs"]  # the chat endpoint's way to say no
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        raise _refusal(error, given) from None


def _is_writable(value: object) -> bool:
    """Return whether all texts in a JSON value are made of whole characters."""
    try:
        _ = json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _asks_for_nothing(name: str, value: object, shape: type[SamplingFields]) -> bool:
    """Return whether a field can be left out. Raises: `ApiError` where it cannot be honoured."""
    if value is None:
        return name in shape.model_fields or name in NEUTRAL
    if name not in NEUTRAL or name in shape.model_fields:
        return False
    if value not in NEUTRAL[name]:
        raise invalid(
            f"{name} is not supported by this server; leave it out",
            param=name,
            code="unsupported_parameter",
        )
    return True


def _refusal(error: ValidationError, given: Mapping[str, Any]) -> ApiError:
    """Return the first thing that is wrong with a body, by its field."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = first["loc"]
    field = str(where[0])[:100] if where else None
    if first["type"] == "extra_forbidden":
        name = ".".join(str(part)[:100] for part in where)
        return invalid(
            f"{name} is not a field that this server knows", param=field, code="unknown_parameter"
        )
    if field == "prompt" and "prompt" in given:
        said = "must be a text, a list of texts, a list of token ids, or a list of such lists"
    elif field == "stop":
        said = "must be a text or a list of texts"
    elif first["type"] == "missing":
        said = "is missing"
    else:
        said = f"is wrong: {first['msg'][:1].lower()}{first['msg'][1:]}"
    path = ".".join(str(part)[:100] for part in where) if field not in ("prompt", "stop") else field
    return invalid(f"{path or 'the body'} {said}", param=field)


def _prompts(fields: CompletionFields, served: Served) -> tuple[Tokens, ...]:
    """Return the prompts' tokens."""
    prompt = fields.prompt
    if not prompt and prompt != "":
        raise invalid("prompt is an empty list", param="prompt")
    if isinstance(prompt, str) or isinstance(prompt[0], str):
        texts = [prompt] if isinstance(prompt, str) else cast(list[str], prompt)
        limit = served.limits.max_choices
        if len(texts) > limit:
            raise invalid(f"{len(texts)} prompts; at most {limit} a request", param="prompt")
        special = fields.add_special_tokens
        rust = served.tokenizer.rust
        return tuple(tuple(rust.encode(t, add_special_tokens=special).ids) for t in texts)
    if isinstance(prompt[0], int):
        return (tuple(cast(list[int], prompt)),)
    return tuple(tuple(ids) for ids in cast(list[list[int]], prompt))


def rendered(conversation: Sequence[Mapping[str, str]], served: Served) -> Tokens:
    """Return the tokens of a conversation that the policy is to answer. Raises: `ApiError`."""
    try:
        return served.tokenizer.render(conversation, has_generation_prompt=True)
    except UserError as error:
        raise invalid(str(error), param="messages") from error


def _check_model(fields: SamplingFields, served: Served) -> None:
    if fields.model not in (None, served.name):
        raise ApiError(
            404,
            f"no model {str(fields.model)[:100]!r} here; there is {served.name!r}",
            param="model",
            code="model_not_found",
        )


def _check_prompt(prefix: Tokens, served: Served) -> None:
    room = served.max_positions - 1
    limit = min(room, served.limits.max_prompt_tokens or room)
    if not prefix:
        raise invalid("the prompt holds no token", param="prompt")
    if len(prefix) > limit:
        raise invalid(
            f"the prompt has {len(prefix)} tokens; at most {limit} are taken",
            param="prompt",
            code="context_length_exceeded",
        )
    if min(prefix) < 0 or max(prefix) >= served.vocab_size:
        wrong = min(prefix) if min(prefix) < 0 else max(prefix)
        raise invalid(
            f"prompt holds token {wrong}; the model knows 0 to {served.vocab_size - 1}",
            param="prompt",
        )


def _check_search(fields: SamplingFields, has_logprobs: bool) -> None:
    """Refuse what a search cannot be asked for beside."""
    asked = {
        "n": (fields.n or 1) > 1,
        "logprobs": has_logprobs,
        "stop": bool(fields.stop),
        "top_k": (fields.top_k or 0) > 0,
        "return_token_ids": bool(fields.return_token_ids),
    }
    for name, is_asked in asked.items():
        if is_asked:
            raise invalid(f"{name} cannot be asked for together with a search", param=name)


def _check_alternatives(kind: Kind, count: int, has_logprobs: bool, num_places: int) -> None:
    """Refuse more alternatives than the API has, or than an answer can hold."""
    name = "top_logprobs" if kind == "chat" else "logprobs"
    if not has_logprobs:
        raise invalid("top_logprobs needs logprobs to be true", param=name)
    if count > MAX_TOP_LOGPROBS[kind]:
        most = MAX_TOP_LOGPROBS[kind]
        raise invalid(f"{name} is {count}; at most {most} are told", param=name)
    if count * num_places > MAX_ALTERNATIVES:
        raise invalid(
            f"{name} is {count} for up to {num_places} tokens; an answer holds at most "
            f"{MAX_ALTERNATIVES} in all: lower it, max_tokens or n",
            param=name,
        )


def _params(fields: SamplingFields, wanted: int, limits: Limits) -> SamplingParams:
    """Return how to draw."""
    if wanted > limits.max_tokens:
        raise invalid(
            f"max_tokens is {wanted}; at most {limits.max_tokens} are drawn", param="max_tokens"
        )
    temperature = 1.0 if fields.temperature is None else fields.temperature
    if 0 < temperature < MIN_TEMPERATURE:
        raise invalid(
            f"temperature is {temperature}; it must be 0 (greedy) or at least {MIN_TEMPERATURE}",
            param="temperature",
        )
    stop = [fields.stop] if isinstance(fields.stop, str) else fields.stop or []
    if len(stop) > 16 or any(len(text) > 256 for text in stop):
        raise invalid("stop holds more than 16 texts, or one of over 256 letters", param="stop")
    try:
        return SamplingParams(
            max_tokens=wanted,
            temperature=temperature,
            top_p=1.0 if fields.top_p is None else fields.top_p,
            top_k=max(0, fields.top_k or 0),
            stop=tuple(stop),
        )
    except UserError as error:
        raise invalid(str(error), param=str(error).split()[0]) from error
