"""The policy that runs elsewhere: any server that speaks the OpenAI API.

Place in the flow: `run` asks for completions as of any `Policy`; each prefix is one HTTP request,
many of them at the same time, and a server that is busy or away is asked again, later and later.
vLLM, SGLang, llama.cpp, a hosted API and `system2 serve` will do. The tokenizer is needed here,
as a folder, since a search reads and continues tokens.

What a server does not tell is made up for as far as it can be. Token ids that it sends back
(`token_ids`: system2 serve, vLLM) are taken as they are; else its text is tokenized here.
Log-probabilities are taken where there is one a token; else each is `UNKNOWN_LOGPROB`.
"""

import email.utils
import math
import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import urlsplit

from system2.core import (
    Completion,
    FinishReason,
    SampleRequest,
    SamplingParams,
    Tokens,
    UserError,
    derive_seed,
)
from system2.engine.tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    import httpx2

UNKNOWN_LOGPROB = 0.0
"""What stands for the log-probability of a token where the server tells none."""

RETRIED = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
"""Statuses that may be gone the next time."""

EXTENSIONS: Mapping[str, Any] = {"return_token_ids": True, "add_special_tokens": False}
"""Fields beyond OpenAI's own, left out once a server has refused them."""

MAX_ANSWER_BYTES = 64 << 20
"""An answer that is larger is not read to its end."""


@dataclass(frozen=True, slots=True)
class Remote:
    """How a server is asked.

    `url` is the API's base (`http://HOST:PORT/v1`). `endpoint` "completions" continues any prefix;
    "chat" has only whole conversations, so that prefixes must be prompts. `sends` says what a
    prompt is sent as: token ids, or text where a server refuses ids. `concurrency` requests are
    under way at a time, of at most `max_n` completions. An attempt waits `timeout_s` at most for
    each byte; a request is given up after `max_attempts`, with waits that double from `backoff_s`
    to `max_wait_s`.
    """

    url: str
    model: str
    api_key: str | None = None
    endpoint: Literal["completions", "chat"] = "completions"
    sends: Literal["tokens", "text"] = "tokens"
    concurrency: int = 16
    max_n: int = 64
    timeout_s: float = 600.0
    max_attempts: int = 8
    backoff_s: float = 0.5
    max_wait_s: float = 30.0


class _RetryError(Exception):
    """The attempt failed, and may succeed later; `after_s` is what the server asked for."""

    def __init__(self, said: str, after_s: float | None = None) -> None:
        super().__init__(said)
        self.after_s = after_s


@dataclass(slots=True)
class RemotePolicy:
    """A server as a `Policy`; its answers are read with `tokenizer`.

    `num_requests` and `num_retries` count what was sent. How many positions the server computed
    is not known.
    """

    remote: Remote
    tokenizer: Tokenizer
    num_requests: int = 0
    num_retries: int = 0
    _client: "httpx2.Client | None" = field(default=None, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _unknown: set[str] = field(default_factory=set[str], init=False, repr=False)

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        """Return completions `[r][p][i]`.

        Raises: `UserError` where the server refuses a request, cannot be reached for too long,
        or answers what is no completion.
        """
        gave_up = threading.Event()
        with ThreadPoolExecutor(self.remote.concurrency, "remote") as threads:
            futures = [
                [
                    [threads.submit(self._ask, part, gave_up) for part in self._parts(r, p)]
                    for p in range(len(r.prefixes))
                ]
                for r in requests
            ]
            try:
                return [
                    [[one for part in parts for one in part.result()] for parts in prefixes]
                    for prefixes in futures
                ]
            except BaseException:
                gave_up.set()
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _parts(self, request: SampleRequest, p: int) -> list[SampleRequest]:
        """Return a prefix's completions as requests of at most `max_n`, each with its own seed.

        The first part of the first prefix has the request's own seed: a server of ours then
        draws what the policy would draw here.
        """
        size = self.remote.max_n
        return [
            replace(
                request,
                prefixes=(request.prefixes[p],),
                n=min(size, request.n - start),
                seed=derive_seed("remote", request.seed, p, start) if p or start else request.seed,
            )
            for start in range(0, request.n, size)
        ]

    # One HTTP request

    def _ask(self, request: SampleRequest, gave_up: threading.Event) -> list[Completion]:
        """Return the completions of one prefix, asking again as long as it makes sense."""
        jitter = random.Random()  # spreads requests in time, and touches no result
        for attempt in range(self.remote.max_attempts):
            if gave_up.is_set():
                raise UserError(f"{self.remote.url}: given up")
            try:
                return self._attempt(request)
            except _RetryError as again:
                if attempt + 1 == self.remote.max_attempts:
                    raise UserError(
                        f"{self.remote.url}: {again}; given up after {attempt + 1} attempts "
                        "(run the same command again to go on)"
                    ) from again
                wait_s = min(self.remote.backoff_s * 2**attempt, self.remote.max_wait_s)
                wait_s *= jitter.uniform(0.5, 1)
                if again.after_s is not None:
                    wait_s = max(min(again.after_s, self.remote.max_wait_s), wait_s)
                with self._lock:
                    self.num_retries += 1
                _ = gave_up.wait(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _attempt(self, request: SampleRequest) -> list[Completion]:
        body = self._body(request)
        status, raw = self._post(body)
        if status in (400, 422):
            named = {name for name in EXTENSIONS if name in body and name.encode() in raw}
            if named:  # a server that takes no such field
                self._unknown |= named
                return self._attempt(request)
        if status != 200:
            raise UserError(f"{self.remote.url} refuses ({status}): {_message(raw)}")
        choices = _choices(raw, self.remote.url)
        if len(choices) != request.n:
            raise UserError(
                f"{self.remote.url}: {len(choices)} completions for n = {request.n}; "
                "a server that draws one at a time needs max_n = 1"
            )
        return [self._completion(choice, request.params) for choice in choices]

    def _body(self, request: SampleRequest) -> dict[str, Any]:
        """Return a request as JSON."""
        params, (prefix,) = request.params, request.prefixes
        body: dict[str, Any] = {
            "model": self.remote.model,
            "n": request.n,
            "max_tokens": params.max_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "seed": request.seed,
        }
        if params.top_k:
            body["top_k"] = params.top_k
        if params.stop:
            body["stop"] = list(params.stop)
        body |= {name: value for name, value in EXTENSIONS.items() if name not in self._unknown}
        if self.remote.endpoint == "chat":
            text = self.tokenizer.decode(prefix, with_special=True)
            _ = body.pop("add_special_tokens", None)
            return {**body, "messages": messages_of(self.tokenizer, text), "logprobs": True}
        if self.remote.sends == "tokens":
            return {**body, "prompt": list(prefix), "logprobs": 1}
        return {**body, "prompt": self.tokenizer.decode(prefix, with_special=True), "logprobs": 1}

    def _post(self, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Send a request; return status and body. Raises: `_RetryError`, `UserError`."""
        http, client = self._http()
        path = "/chat/completions" if self.remote.endpoint == "chat" else "/completions"
        key = self.remote.api_key
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        with self._lock:
            self.num_requests += 1
        parts, size = list[bytes](), 0
        try:
            url = self.remote.url.rstrip("/") + path
            with client.stream("POST", url, json=body, headers=headers) as answer:
                for part in answer.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > MAX_ANSWER_BYTES:
                        raise UserError(f"{self.remote.url}: answers over {MAX_ANSWER_BYTES} bytes")
        except http.TransportError as error:
            raise _RetryError(f"cannot be reached ({type(error).__name__}: {error})") from error
        except (http.InvalidURL, http.DecodingError) as error:
            raise UserError(f"{self.remote.url}: {error}") from error
        raw = b"".join(parts)
        if answer.status_code in RETRIED:
            after_s = _seconds(answer.headers.get("Retry-After"))
            raise _RetryError(f"answers {answer.status_code} ({_message(raw)})", after_s)
        return answer.status_code, raw

    def _http(self) -> tuple[Any, "httpx2.Client"]:
        """Return the HTTP library and the client that all threads share."""
        http = _library()
        with self._lock:
            if self._client is None:
                limits = http.Limits(max_connections=self.remote.concurrency)
                self._client = http.Client(timeout=self.remote.timeout_s, limits=limits)
            assert self._client is not None
            return http, self._client

    # Reading the answer

    def _completion(self, choice: Mapping[str, Any], params: SamplingParams) -> Completion:
        """Return a choice as a completion. Raises: `UserError` where it is none."""
        text = choice.get("text", _mapping(choice.get("message")).get("content"))
        ids = choice.get("token_ids")
        if not isinstance(text, str) and ids is None:
            raise UserError(f"{self.remote.url}: a choice holds no text")
        reason = self._reason(choice, params)
        if ids is None:
            stopped = choice.get("stop_reason")
            kept = stopped if reason == "stop" and isinstance(stopped, str) else ""
            tokens = self.tokenizer.encode(str(text) + kept)
        else:
            tokens = self._checked(ids)
        logprobs = _logprobs(choice.get("logprobs"))
        ends = self.tokenizer.eos
        if reason == "eos" and ends and not ends.intersection(tokens[-1:]):
            tokens = (*tokens, min(ends))  # the end counts as a token, as it does here
        if len(logprobs) == len(tokens) - 1 and reason == "eos":
            logprobs = [*logprobs, UNKNOWN_LOGPROB]
        if len(logprobs) != len(tokens):
            logprobs = [UNKNOWN_LOGPROB] * len(tokens)
        if len(tokens) > params.max_tokens:  # tokenized here it may be longer
            tokens, logprobs, reason = (
                tokens[: params.max_tokens],
                logprobs[: params.max_tokens],
                "length",
            )
        return Completion(tokens, tuple(logprobs), reason)

    def _reason(self, choice: Mapping[str, Any], params: SamplingParams) -> FinishReason:
        """Return why a choice ended; a server that does not tell stop texts from its end: "stop".

        Wrongly taken for a stop, an end costs one more request; the other way round it would
        end an attempt too early.
        """
        if choice.get("finish_reason") == "length":
            return "length"
        if not params.stop:
            return "eos"
        if "stop_reason" in choice:
            return "stop" if isinstance(choice["stop_reason"], str) else "eos"
        return "stop"

    def _checked(self, ids: object) -> Tokens:
        found = cast("list[object]", ids) if isinstance(ids, list) else [None]
        tokens = [i for i in found if isinstance(i, int) and not isinstance(i, bool)]
        if len(tokens) < len(found) or any(not 0 <= i < self.tokenizer.vocab_size for i in tokens):
            raise UserError(
                f"{self.remote.url}: sends tokens that {self.tokenizer.folder} does not know; "
                "name the model's own tokenizer by --tokenizer"
            )
        return tuple(tokens)


def _library() -> Any:
    """Return the HTTP library, under its new name or its old one."""
    try:
        import httpx2 as http
    except ImportError:
        import httpx as http
    return http


def messages_of(tokenizer: Tokenizer, prompt: str) -> list[dict[str, str]]:
    """Return the one user message that a prompt was made of, by the local chat template.

    Raises: `UserError` where the prompt is something else: a chat server cannot go on from
    the middle of a reply.
    """
    mark = "\N{OBJECT REPLACEMENT CHARACTER}"
    shape = tokenizer.render_text([{"role": "user", "content": mark}], has_generation_prompt=True)
    before, found, after = shape.partition(mark)
    inside = prompt[len(before) : len(prompt) - len(after)]
    if not found or prompt != before + inside + after:
        raise UserError(
            "a chat server takes whole conversations only, and this prefix is none; "
            "use the completions endpoint"
        )
    return [{"role": "user", "content": inside}]


def is_remote(name: str) -> bool:
    """Return whether a policy's name is a server's address."""
    return name.startswith(("http://", "https://"))


def load_remote(
    name: str, tokenizer: str | None, *, api_key: str | None = None, **dials: Any
) -> RemotePolicy:
    """Return the policy named `http://HOST:PORT/v1#MODEL`, read with a tokenizer's folder.

    `#MODEL&chat` uses the chat endpoint, `#MODEL&text` sends prompts as text; `dials` are fields
    of `Remote`.
    Raises: `UserError` where a part is missing.
    """
    from system2.engine.weights import find_checkpoint

    url, _, rest = name.partition("#")
    model, *ways = rest.split("&")
    if not model or not urlsplit(url).hostname:
        raise UserError(f"{name}: name a server as http://HOST:PORT/v1#MODEL")
    for way in ways:
        if way not in ("chat", "text"):
            raise UserError(f"{name}: after & may stand chat or text, not {way!r}")
    if tokenizer is None:
        raise UserError(f"{name}: a server needs its tokenizer here: --tokenizer FOLDER (or tiny)")
    folder = Path(tokenizer)
    if not (folder / "tokenizer.json").is_file():
        folder = find_checkpoint(tokenizer)
    remote = Remote(
        url,
        model,
        api_key,
        endpoint="chat" if "chat" in ways else "completions",
        sends="text" if "text" in ways else "tokens",
    )
    return RemotePolicy(replace(remote, **dials), load_tokenizer(folder))


def _choices(raw: bytes, url: str) -> list[dict[str, Any]]:
    """Return an answer's choices in the order of their indices."""
    choices = _mapping(_parsed(raw)).get("choices")
    if not isinstance(choices, list):
        raise UserError(
            f"{url}: answers {raw[:100]!r}, which holds no choices; is it an OpenAI API?"
        )
    found = [_mapping(choice) for choice in cast("list[Any]", choices)]

    def index(choice: Mapping[str, Any]) -> int:
        value = choice.get("index")
        return value if isinstance(value, int) else 0

    return sorted(found, key=index)


def _parsed(raw: bytes) -> object:
    import json

    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _message(raw: bytes) -> str:
    """Return what an error's body says, in one short line."""
    body = _mapping(_parsed(raw))
    said = _mapping(body.get("error")).get("message") or body.get("error") or body.get("message")
    text = said if isinstance(said, str) else raw[:200].decode(errors="replace")
    return " ".join(text.split())[:200] or "it says nothing"


def _logprobs(raw: object) -> list[float]:
    """Return the log-probabilities of a choice, an empty list where there are none."""
    found = _mapping(raw)
    content = found.get("content")
    if isinstance(content, list):
        values = [_mapping(one).get("logprob") for one in cast("list[object]", content)]
    else:
        values = found.get("token_logprobs")
    if not isinstance(values, list):
        return []
    numbers = cast("list[object]", values)
    ok = all(
        isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in numbers
    )
    return [float(cast(float, v)) for v in numbers] if ok else []


def _seconds(text: str | None) -> float | None:
    """Return what a Retry-After header asks for: seconds, or a date; None where it says neither."""
    if text is None:
        return None
    try:
        found = float(text)
    except ValueError:
        try:
            found = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, found) if math.isfinite(found) else None
