"""Token quality exploration (LLM2, arXiv 2412.20372, section 3.2): the pairs to learn from.

At a position of a solution the policy proposes tokens other than the one that stands there;
each proposal is rolled out several times, and its quality is the share of rollouts that reach
the right answer. A proposal of low quality becomes the negative of a pair.

Two kinds of text: `reference`, the task's solution (the paper's: its token is the positive),
or `sampled`, the policy's own attempt, where the better and the worse of the plausible tokens
make the pair (training on guided text: arXiv 2503.02368). Four cheap strategies draw negatives
without rollouts, from the plausible tokens of two models (the reference code, yc1999/LLM2 at
8be7f5d, holds only these): A, the policy, and B, an amateur.
"""

import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from system2.core import (
    Problem,
    SampleRequest,
    SamplingParams,
    Task,
    Tokens,
    UserError,
    derive_seed,
)
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.engine.processes import ProcessPolicy
from system2.engine.sampling import as_floats, as_ints, plausible
from system2.engine.tokenizer import Tokenizer
from system2.synthesise.conversations import Conversation, conversation
from system2.synthesise.pairs import Pair, write_row

Strategy: TypeAlias = Literal["rollout", "uniform", "base", "expert", "contrast"]
STRATEGIES: tuple[Strategy, ...] = ("rollout", "uniform", "base", "expert", "contrast")
NEEDS_AMATEUR: tuple[Strategy, ...] = ("uniform", "base", "contrast")
CHUNK = 32
"""Problems explored together, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class ExploreConfig:
    """How to explore.

    A position is explored where tokens other than the one there have p >= `alpha` * max p;
    at most `max_positions` of a text (the least certain first) and `max_proposals` tokens of
    each. With `rollout`: `rollouts` continuations at `temperature` of at most `max_tokens`
    tokens. Along a reference, a proposal whose quality is at most `max_quality` is a
    negative, and with `measures_reference` the positive is rolled out too and has to be
    better by `min_gap`; along a sampled text both are always measured, and the gap alone
    decides. `gamma` is the strength of `contrast`.
    Raises: `UserError` on a value out of its range, or `sampled` without rollouts.
    """

    strategy: Strategy = "rollout"
    text: Literal["reference", "sampled"] = "reference"
    alpha: float = 0.05
    max_positions: int = 8
    max_proposals: int = 2
    rollouts: int = 8
    temperature: float = 1.0
    max_tokens: int = 256
    max_quality: float = 0.5
    min_gap: float = 0.25
    measures_reference: bool = False
    gamma: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UserError(f"no strategy {self.strategy!r}; there are {', '.join(STRATEGIES)}")
        if self.text == "sampled" and self.strategy != "rollout":
            raise UserError(
                f"strategy {self.strategy} takes every token of a text for a good one; sampled "
                "texts need strategy rollout"
            )
        counts = (self.max_positions, self.max_proposals, self.rollouts, self.max_tokens)
        if min(counts) < 1:
            raise UserError(f"positions, proposals, rollouts and tokens are {counts}: 1 at least")
        shares = (self.alpha, self.max_quality, self.min_gap)
        if not all(0 <= share <= 1 for share in shares) or self.min_gap == 0:
            raise UserError(f"alpha, max_quality, min_gap are {shares}; in [0, 1], the gap above 0")
        if not 0 <= self.gamma < math.inf:
            raise UserError(f"gamma is {self.gamma}; it must be finite and at least 0")


@dataclass(frozen=True, slots=True)
class _Place:
    """A position of a text and the tokens proposed for it, likeliest first."""

    position: int
    proposals: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Text:
    """A problem's conversation, whose reply is explored."""

    problem: Problem
    talk: Conversation

    @property
    def tokens(self) -> Tokens:
        """The tokens up to the reply's end."""
        return self.talk.tokens[: self.talk.end]


@dataclass(frozen=True, slots=True)
class _Quality:
    """The share of a token's continuations that end right, and a right one (None: none)."""

    share: float
    ending: Tokens | None


_Qualities: TypeAlias = Mapping[tuple[int, int], _Quality]
"""What was measured along one text, by position and token."""


def explore(
    policy: LocalPolicy | ProcessPolicy,
    task: Task,
    problems: Iterable[Problem],
    config: ExploreConfig,
    *,
    amateur: LanguageModel | None = None,
    chunk: int = CHUNK,
) -> Iterator[dict[str, Any]]:
    """Yield one row of LLM2's data set a problem, in order (its samples may be empty).

    Problems go through in chunks, all rollouts of a chunk in one batch. Every random draw is
    seeded by problem, position and token, so chunks of another size give the same rows.
    Raises: `UserError` where the strategy needs an amateur model and there is none, or it
    has other tokens than the policy.
    """
    if config.strategy in NEEDS_AMATEUR and amateur is None:
        raise UserError(f"strategy {config.strategy} needs a second model; name it by --amateur")
    if amateur is not None and amateur.config.vocab_size != policy.model.config.vocab_size:
        raise UserError(
            f"the amateur knows {amateur.config.vocab_size} tokens, the policy "
            f"{policy.model.config.vocab_size}: they need one tokenizer"
        )
    iterator = iter(problems)
    while batch := list(islice(iterator, chunk)):
        texts = _texts(policy, batch, config)
        places = _places(policy, amateur, texts, config)
        measured: Sequence[_Qualities] = [dict[tuple[int, int], _Quality]() for _ in texts]
        if config.strategy == "rollout":
            measured = _roll_out(policy, task, texts, places, config)
        for text, found, qualities in zip(texts, places, measured, strict=True):
            if config.text == "reference":
                yield _reference_row(text, found, qualities, config)
            else:
                yield _sampled_row(policy.tokenizer, text, found, qualities, config)


def _texts(
    policy: LocalPolicy | ProcessPolicy, problems: Sequence[Problem], config: ExploreConfig
) -> list[_Text]:
    """Return the conversations to explore, with reference or freshly sampled replies."""
    tokenizer = policy.tokenizer
    if config.text == "reference":
        replies = [_solution(problem) for problem in problems]
    else:
        params = SamplingParams(config.max_tokens, config.temperature)
        requests = [
            SampleRequest(
                (tokenizer.prompt(problem.prompt),),
                1,
                params,
                derive_seed("attempt", config.seed, problem.id),
            )
            for problem in problems
        ]
        replies = [tokenizer.decode(r[0][0].tokens) for r in policy.sample(requests)]
    return [
        _Text(problem, conversation(tokenizer, problem.prompt, reply))
        for problem, reply in zip(problems, replies, strict=True)
    ]


def _solution(problem: Problem) -> str:
    solution = problem.metadata.get("solution")
    if not isinstance(solution, str):
        raise UserError(f"problem {problem.id} has no reference solution to explore along")
    return solution


@torch.inference_mode()
def _places(
    policy: LocalPolicy | ProcessPolicy,
    amateur: LanguageModel | None,
    texts: Sequence[_Text],
    config: ExploreConfig,
) -> list[list[_Place]]:
    """Return, for each text, the positions to explore and what is proposed there."""
    model = policy.model
    width = max(len(text.tokens) for text in texts)
    tokens = torch.zeros(len(texts), width, dtype=torch.long)
    for row, text in enumerate(texts):
        tokens[row, : len(text.tokens)] = torch.tensor(text.tokens)
    tokens = tokens.to(model.model.norm.weight.device)
    hidden = model.hidden(tokens)
    other = amateur.hidden(tokens) if amateur is not None else None
    found: list[list[_Place]] = []
    for row, text in enumerate(texts):
        span = slice(text.talk.start - 1, text.talk.end - 1)
        # a head may be wider than the tokenizer: what lies beyond is no token
        known = slice(policy.tokenizer.vocab_size)
        strong = model.logits(hidden[row, span])[:, known].float()
        weak = None
        if other is not None and amateur is not None:
            weak = amateur.logits(other[row, span])[:, known].float()
        found.append(_places_of(text, strong, weak, config))
    return found


def _places_of(
    text: _Text,
    strong: Float[Tensor, "reply vocab"],
    weak: Float[Tensor, "reply vocab"] | None,
    config: ExploreConfig,
) -> list[_Place]:
    """Return one text's places, in order: those where the policy is least certain."""
    start = text.talk.start
    reply = torch.tensor(text.tokens[start:], device=strong.device)
    allowed = plausible(strong, config.alpha)
    if config.strategy == "uniform" and weak is not None:
        allowed = allowed | plausible(weak, config.alpha)
    elif config.strategy == "base" and weak is not None:
        allowed = plausible(weak, config.alpha)
    allowed = allowed.scatter(1, reply[:, None], False)
    weights = _strategy_logits(strong, weak, config).masked_fill(~allowed, -torch.inf)
    certainty = as_floats(strong.softmax(dim=-1).max(dim=-1).values)
    open_places = as_ints(allowed.any(dim=-1).nonzero()[:, 0])
    chosen = sorted(open_places, key=lambda t: (certainty[t], t))[: config.max_positions]
    return [
        _Place(start + t, _proposals(weights[t], text.problem.id, start + t, config))
        for t in sorted(chosen)
    ]


def _strategy_logits(strong: Tensor, weak: Tensor | None, config: ExploreConfig) -> Tensor:
    """Return the logits that proposals are drawn by."""
    if config.strategy in ("rollout", "expert") or weak is None:
        return strong
    if config.strategy == "uniform":
        return torch.zeros_like(strong)
    if config.strategy == "base":
        return weak
    return strong + config.gamma * (strong - weak)


def _proposals(
    logits: Float[Tensor, "vocab"], problem: str, position: int, config: ExploreConfig
) -> tuple[int, ...]:
    """Return distinct proposals: the likeliest ones for `rollout`, else drawn at random."""
    options = as_ints((logits > -torch.inf).nonzero()[:, 0])
    count = min(config.max_proposals, len(options))
    if config.strategy == "rollout":
        return tuple(as_ints(logits.topk(count).indices))
    rng = random.Random(derive_seed("propose", config.seed, problem, position))
    # the largest of log-weights minus the log of exponential draws: without replacement
    weights = as_floats(logits.log_softmax(dim=-1)[options])
    keys = [weight - math.log(rng.expovariate(1.0) or 1e-300) for weight in weights]
    ranked = sorted(zip(keys, options, strict=True), reverse=True)
    return tuple(token for _, token in ranked[:count])


def _roll_out(
    policy: LocalPolicy | ProcessPolicy,
    task: Task,
    texts: Sequence[_Text],
    places: Sequence[Sequence[_Place]],
    config: ExploreConfig,
) -> list[_Qualities]:
    """Return each text's qualities: of the proposals, and of its own tokens if they count."""
    params = SamplingParams(config.max_tokens, config.temperature)
    decode, has_own = policy.tokenizer.decode, config.measures_reference or config.text == "sampled"
    measured: list[dict[tuple[int, int], _Quality]] = [{} for _ in texts]
    requests: list[SampleRequest] = []
    rolled: list[tuple[int, Tokens]] = []
    for i, (text, found) in enumerate(zip(texts, places, strict=True)):
        for place in found:
            own = (text.tokens[place.position],) if has_own else ()
            for token in (*own, *place.proposals):
                prefix = (*text.tokens[: place.position], token)
                if token in policy.tokenizer.eos:  # nothing follows: the text so far counts
                    reply = decode(prefix[text.talk.start : -1])
                    is_right = task.grade(text.problem, reply) is True
                    ending = () if is_right else None
                    measured[i][place.position, token] = _Quality(float(is_right), ending)
                    continue
                seed = derive_seed("rollout", config.seed, text.problem.id, place.position, token)
                requests.append(SampleRequest((prefix,), config.rollouts, params, seed))
                rolled.append((i, prefix))
    for (i, prefix), (drawn,) in zip(rolled, policy.sample(requests), strict=True):
        problem, start = texts[i].problem, texts[i].talk.start
        right = [
            c.tokens
            for c in drawn
            if c.finish_reason == "eos"
            and task.grade(problem, decode((*prefix[start:], *c.tokens))) is True
        ]
        share, ending = len(right) / config.rollouts, right[0] if right else None
        measured[i][len(prefix) - 1, prefix[-1]] = _Quality(share, ending)
    return list(measured)


def _is_better(one: _Quality, other: _Quality, config: ExploreConfig) -> bool:
    """Say whether a quality is better by the gap asked for (but for rounding)."""
    return one.share - other.share >= config.min_gap - 1e-9


def _reference_row(
    text: _Text, places: Sequence[_Place], qualities: _Qualities, config: ExploreConfig
) -> dict[str, Any]:
    """Return a pair a proposal (of low quality, where measured), its positive the token there."""
    pairs: list[Pair] = []
    for place in places:
        own = text.tokens[place.position]
        chosen = qualities.get((place.position, own))
        for token in place.proposals:
            rejected = qualities.get((place.position, token))
            is_good = rejected is not None and (
                rejected.share > config.max_quality
                or (chosen is not None and not _is_better(chosen, rejected, config))
            )
            if is_good:
                continue
            shares = (q.share if q is not None else None for q in (chosen, rejected))
            pairs.append(Pair(place.position, own, token, *shares))
    return write_row(text.talk.messages, pairs)


def _sampled_row(
    tokenizer: Tokenizer,
    text: _Text,
    places: Sequence[_Place],
    qualities: _Qualities,
    config: ExploreConfig,
) -> dict[str, Any]:
    """Return the pairs along a sampled attempt.

    Where the token there is the better one, the pair stands on the attempt. At the first
    place where a proposal is better, the attempt is left: the row's text goes on with that
    token and one of its right continuations.
    """
    pairs: list[Pair] = []
    for place in places:
        at, token = place.position, text.tokens[place.position]
        own = qualities[at, token]
        best = max(place.proposals, key=lambda v: qualities[at, v].share)
        found = qualities[at, best]
        if found.ending is not None and _is_better(found, own, config):
            reply = tokenizer.decode((*text.tokens[text.talk.start : at], best, *found.ending))
            turned = conversation(tokenizer, text.problem.prompt, reply)
            if turned.tokens[: at + 1] == (*text.tokens[:at], best):
                pairs.append(Pair(at, best, token, found.share, own.share))
                return write_row(turned.messages, pairs)
            break  # the text would be cut into other tokens: no pair can be written for it
        for v in place.proposals:
            if _is_better(own, qualities[at, v], config):
                pairs.append(Pair(at, token, v, own.share, qualities[at, v].share))
    return write_row(text.talk.messages, pairs)
