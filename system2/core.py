"""The words the whole house speaks: problems, requests, completions and the protocols between them.

Read first; it imports nothing of ours. A `Policy` (System 1) proposes tokens, a `Verifier`
(System 2) judges prefixes, a search is a generator that yields the two kinds of request.
Shapes of nested lists are given by an index legend: `[r][p][i]` is request, prefix, draw.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

Tokens: TypeAlias = tuple[int, ...]
"""Token ids of one piece of text, in order; immutable, so that it can be a key."""

Split: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

FinishReason: TypeAlias = Literal["stop", "eos", "length"]

Alternatives: TypeAlias = tuple[tuple[int, float], ...]
"""The likeliest tokens of one place, likeliest first, each with its log-probability (nats)."""


class UserError(Exception):
    """An error that the user can mend: its message is one line that names the thing and the fix.

    The command line prints it alone (no traceback) and exits with code 2.
    """


@dataclass(frozen=True, slots=True)
class Problem:
    """One verifiable problem, as text.

    `metadata` is what the task wants to remember: the reference `solution` (text), the
    difficulty, the numbers of a countdown. It holds only what JSON can hold.
    """

    id: str
    prompt: str
    answer: str
    task: str
    metadata: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to draw a completion.

    `temperature` 0 is greedy (the call decides: nothing is sampled); `top_p` in (0, 1];
    `top_k` 0 means no limit; `stop` are texts after which a completion ends (kept in it).
    Raises: `UserError` on a value out of its range.
    """

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}; it must be at least 1")
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature is {self.temperature}; it must be finite and >= 0")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}; it must lie in (0, 1]")
        if self.top_k < 0:
            raise UserError(f"top_k is {self.top_k}; it must be >= 0 (0: no limit)")
        if any(not text for text in self.stop):
            raise UserError("stop holds an empty text; it would stop everything")


@dataclass(frozen=True, slots=True)
class Completion:
    """What a policy added to a prefix.

    `logprobs[j]` is the natural log (nats) of the probability with which `tokens[j]` was
    drawn, after temperature, truncation and any guide. Greedy's choice is certain, so it
    reports the log-probability under the distribution at temperature 1 instead of 0.
    `alternatives[j]` are of the distribution that `logprobs[j]` is of; none where none were
    asked for.
    """

    tokens: Tokens
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    alternatives: tuple[Alternatives, ...] = ()


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Ask a policy for `n` completions of each prefix.

    Draw i of prefix p depends on `(seed, p, i)` only, never on the rest of the batch.
    """

    prefixes: tuple[Tokens, ...]
    n: int
    params: SamplingParams
    seed: int


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Ask a verifier for the value of each prefix (prompt included) of one problem.

    `tried` are the attempts made so far at this problem, without the prompt, in order: a
    meta-critic judges a prefix in their light, other verifiers leave them alone.
    """

    problem: Problem
    prefixes: tuple[Tokens, ...]
    tried: tuple[Tokens, ...] = ()


class Policy(Protocol):
    """System 1: proposes tokens."""

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        """Return completions `[r][p][i]`."""
        ...


class Verifier(Protocol):
    """System 2: judges prefixes."""

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]` in [0, 1]: the estimate that a prefix ends right."""
        ...


_T = TypeVar("_T")
Steps: TypeAlias = Generator[SampleRequest | ScoreRequest, Any, _T]
"""A search: yields requests, is sent their answers, returns T."""


@dataclass(frozen=True, slots=True)
class Task:
    """A source of problems and the truth about their answers.

    `problems(split, seed)` yields problems lazily, the same ones for the same arguments;
    a split may be finite. `grade(problem, text)` says whether a policy's text solves the
    problem: True, False, or None where it cannot be judged (None is never counted as wrong).
    `answer_of(problem, text)` is the final answer read out of a text, in a normal form that
    votes can be counted by (equal answers, equal strings), None where there is none.
    `step_stop` ends one reasoning step in this task's solutions. `optimal(problem, text)` is
    the value, in [0, 1], of the beginning of a solution (whole steps) under perfect play from
    there on, None where the text cannot be read; a task has it where a solver is exact.
    """

    name: str
    problems: Callable[[Split, int], Iterator[Problem]]
    grade: Callable[[Problem, str], bool | None]
    answer_of: Callable[[Problem, str], str | None]
    step_stop: str = "\n"
    optimal: Callable[[Problem, str], float | None] | None = None


def derive_seed(*keys: object) -> int:
    """Return a seed in [0, 2**63) made from the keys by hash.

    Every random draw of the house starts here; a split's name is one of the keys, so streams
    never overlap (`Random(seed + index)` would share all but one item between neighbours).
    Keys are told apart by type and value: `derive_seed(1) != derive_seed("1")`.

    >>> derive_seed("word_problems", "test", 0) == derive_seed("word_problems", "test", 0)
    True
    """
    text = "\x1f".join(f"{type(key).__name__}:{key!r}" for key in keys)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
