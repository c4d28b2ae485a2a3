"""Token quality exploration (LLM2, arXiv 2412.20372, section 3.2): make the pairs that train a verifier.

At a position of a solution the policy proposes tokens other than the one that stands there;
each proposal is rolled out several times, and its quality is the share of rollouts that reach
the right answer. A proposal of low quality becomes the negative of a pair.

Two kinds of text: `reference`, the task's solution (the paper's: its token is the positive),
or `sampled`, the policy's own attempt, where the better and the worse of the plausible tokens
make the pair (training on guided text: arXiv 2503.02368). Four cheap strategies draw negatives
without rollouts, from the plausible tokens of two models (the reference code, yc1999/LLM2 at
8be7f5d, holds only these): A, the policy, and B, an amateur.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from system2.core import Problem, SampleRequest, SamplingParams, Task, Tokens, UserError, derive_seed
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.engine.sampling import plausible
from system2.engine.tokenizer import Tokenizer
from system2.synthesise.pairs import Pair, write_row

Strategy: TypeAlias = Literal["rollout", "uniform", "base", "expert", "contrast"]
STRATEGIES: tuple[Strategy, ...] = ("rollout", "uniform", "base", "expert", "contrast")
NEEDS_AMATEUR: tuple[Strategy, ...] = ("uniform", "base", "contrast")


@dataclass(frozen=True, slots=True)
class ExploreConfig:
    """How to explore.

    A position is explored where tokens other than the one there have p >= `alpha` * max p;
    at most `max_positions` of a text (the least certain first) and `max_proposals` tokens of
    each. With `rollout`: `rollouts` continuations at `temperature` of at most `max_tokens`
    tokens; a proposal whose quality is at most `max_quality` is a negative, and with
    `measures_reference` the positive is rolled out too and has to be better by `min_gap`.
    `gamma` is the strength of `contrast`.
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


@dataclass(frozen=True, slots=True)
class _Place:
    """A position of a solution and the tokens proposed for it, likeliest first."""

    position: int
    proposals: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Text:
    """A problem's conversation: its tokens, and where the reply starts."""

    problem: Problem
    tokens: Tokens
    start: int
    reply: str


def explore(
    policy: LocalPolicy,
    task: Task,
    problems: Iterable[Problem],
    config: ExploreConfig,
    *,
    amateur: LanguageModel | None = None,
    chunk: int = 32,
) -> Iterator[dict[str, Any]]:
    """Yield one row of LLM2's data set a problem, in order (its samples may be empty).

    Problems go through in chunks, all rollouts of a chunk in one batch. Every random draw is
    seeded by problem, position and token, so chunks of another size give the same rows.
    Raises: `UserError` where the strategy needs an amateur model and there is none.
    """
    if config.strategy in NEEDS_AMATEUR and amateur is None:
        raise UserError(f"strategy {config.strategy} needs a second model; name it by --amateur")
    iterator = iter(problems)
    while batch := list(islice(iterator, chunk)):
        texts = _texts(policy, batch, config)
        places = _places(policy.model, amateur, texts, config)
        if config.strategy != "rollout":
            for text, found in zip(texts, places, strict=True):
                yield _row(text, [_pair(text, p, v) for p in found for v in p.proposals])
            continue
        qualities, endings = _roll_out(policy, task, texts, places, config)
        for i, (text, found) in enumerate(zip(texts, places, strict=True)):
            mine = {key[1:]: quality for key, quality in qualities.items() if key[0] == i}
            if config.text == "reference":
                yield _row(text, _reference_pairs(text, found, mine, config))
            else:
                ends = {key[1:]: ending for key, ending in endings.items() if key[0] == i}
                yield _sampled_row(policy.tokenizer, text, found, mine, ends, config)


def _texts(policy: LocalPolicy, problems: Sequence[Problem], config: ExploreConfig) -> list[_Text]:
    """Return the conversations to explore, with reference or freshly sampled replies."""
    tokenizer = policy.tokenizer
    if config.text == "reference":
        replies = [_solution(problem) for problem in problems]
    else:
        requests = [
            SampleRequest(
                (tokenizer.prompt(problem.prompt),),
                1,
                SamplingParams(config.max_tokens, config.temperature),
                derive_seed("attempt", config.seed, problem.id),
            )
            for problem in problems
        ]
        replies = [tokenizer.decode(r[0][0].tokens) for r in policy.sample(requests)]
    texts: list[_Text] = []
    for problem, reply in zip(problems, replies, strict=True):
        start = len(tokenizer.prompt(problem.prompt))
        texts.append(_Text(problem, tokenizer.render(_messages(problem, reply)), start, reply))
    return texts


def _solution(problem: Problem) -> str:
    solution = problem.metadata.get("solution")
    if not isinstance(solution, str):
        raise UserError(f"problem {problem.id} has no reference solution to explore along")
    return solution


def _messages(problem: Problem, reply: str) -> list[dict[str, str]]:
    return [
        {"role": "user", "content": problem.prompt},
        {"role": "assistant", "content": reply},
    ]


@torch.inference_mode()
def _places(
    model: LanguageModel, amateur: LanguageModel | None, texts: Sequence[_Text], config: ExploreConfig
) -> list[list[_Place]]:
    """Return, for each text, the positions to explore and what is proposed there."""
    width = max(len(text.tokens) for text in texts)
    tokens = torch.zeros(len(texts), width, dtype=torch.long)
    for row, text in enumerate(texts):
        tokens[row, : len(text.tokens)] = torch.tensor(text.tokens)
    tokens = tokens.to(model.model.norm.weight.device)
    hidden = model.hidden(tokens)
    other = amateur.hidden(tokens) if amateur is not None else None
    found: list[list[_Place]] = []
    for row, text in enumerate(texts):
        span = slice(text.start - 1, len(text.tokens) - 1)
        strong = model.logits(hidden[row, span]).float()
        weak = None
        if other is not None and amateur is not None:
            weak = amateur.logits(other[row, span]).float()
        found.append(_places_of(text, strong, weak, config))
    return found


def _places_of(
    text: _Text,
    strong: Float[Tensor, "reply vocab"],
    weak: Float[Tensor, "reply vocab"] | None,
    config: ExploreConfig,
) -> list[_Place]:
    """Return one text's places: where the policy is least certain first, then in order."""
    reply = torch.tensor(text.tokens[text.start :], device=strong.device)
    allowed = plausible(strong, config.alpha)
    if config.strategy == "uniform" and weak is not None:
        allowed = allowed | plausible(weak, config.alpha)
    elif config.strategy == "base" and weak is not None:
        allowed = plausible(weak, config.alpha)
    allowed = allowed.scatter(1, reply[:, None], False)
    weights = _strategy_logits(strong, weak, config).masked_fill(~allowed, -torch.inf)
    certainty = strong.softmax(dim=-1).max(dim=-1).values
    open_places = allowed.any(dim=-1).nonzero()[:, 0].tolist()
    chosen = sorted(open_places, key=lambda t: (float(certainty[t]), t))[: config.max_positions]
    return [
        _Place(text.start + t, _proposals(weights[t], text, text.start + t, config))
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
    logits: Float[Tensor, "vocab"], text: _Text, position: int, config: ExploreConfig
) -> tuple[int, ...]:
    """Return distinct proposals: the likeliest ones for `rollout`, else drawn at random."""
    options = (logits > -torch.inf).nonzero()[:, 0].tolist()
    count = min(config.max_proposals, len(options))
    if config.strategy == "rollout":
        return tuple(logits.topk(count).indices.tolist())
    rng = random.Random(derive_seed("propose", config.seed, text.problem.id, position))
    # the largest of log-weights plus Gumbel noise: draws without replacement
    weights = logits.log_softmax(dim=-1)
    keys = {v: float(weights[v]) - _log_exponential(rng) for v in options}
    return tuple(sorted(options, key=keys.__getitem__, reverse=True)[:count])


def _log_exponential(rng: random.Random) -> float:
    """Return the logarithm of an exponential draw (minus a Gumbel draw)."""
    import math

    return math.log(rng.expovariate(1.0) or 1e-300)


Key: TypeAlias = tuple[int, int, int]
"""(text, position, token)."""


def _roll_out(
    policy: LocalPolicy,
    task: Task,
    texts: Sequence[_Text],
    places: Sequence[Sequence[_Place]],
    config: ExploreConfig,
) -> tuple[dict[Key, float], dict[Key, Tokens]]:
    """Return each token's quality, and a right continuation of it where one was found."""
    has_chosen = config.measures_reference or config.text == "sampled"
    keys = [
        (i, place.position, token)
        for i, (text, found) in enumerate(zip(texts, places, strict=True))
        for place in found
        for token in (
            *((text.tokens[place.position],) if has_chosen else ()),
            *place.proposals,
        )
    ]
    qualities: dict[Key, float] = {}
    endings: dict[Key, Tokens] = {}
    requests, rolled = [], []
    for key in keys:
        i, position, token = key
        text = texts[i]
        if token in policy.tokenizer.eos:  # nothing follows: the text so far is what counts
            reply = policy.tokenizer.decode(text.tokens[text.start : position])
            qualities[key] = float(task.grade(text.problem, reply) is True)
            endings[key] = ()
            continue
        prefix = (*text.tokens[:position], token)
        params = SamplingParams(config.max_tokens, config.temperature)
        seed = derive_seed("rollout", config.seed, text.problem.id, position, token)
        requests.append(SampleRequest((prefix,), config.rollouts, params, seed))
        rolled.append((key, prefix))
    for (key, prefix), result in zip(rolled, policy.sample(requests), strict=True):
        text = texts[key[0]]
        right = 0
        for completion in result[0]:
            reply = policy.tokenizer.decode((*prefix[text.start :], *completion.tokens))
            if completion.finish_reason == "eos" and task.grade(text.problem, reply) is True:
                right += 1
                _ = endings.setdefault(key, completion.tokens)
        qualities[key] = right / config.rollouts
    return qualities, endings


def _pair(
    text: _Text, place: _Place, rejected: int, chosen_q: float | None = None, q: float | None = None
) -> Pair:
    return Pair(place.position, text.tokens[place.position], rejected, chosen_q, q)


def _reference_pairs(
    text: _Text,
    places: Sequence[_Place],
    qualities: dict[tuple[int, int], float],
    config: ExploreConfig,
) -> list[Pair]:
    """Return a pair a proposal of low quality, the reference token its positive."""
    pairs: list[Pair] = []
    for place in places:
        chosen = qualities.get((place.position, text.tokens[place.position]))
        for token in place.proposals:
            quality = qualities[place.position, token]
            if quality > config.max_quality:
                continue
            if chosen is not None and chosen - quality < config.min_gap:
                continue
            pairs.append(_pair(text, place, token, chosen, quality))
    return pairs


def _sampled_row(
    tokenizer: Tokenizer,
    text: _Text,
    places: Sequence[_Place],
    qualities: dict[tuple[int, int], float],
    endings: dict[tuple[int, int], Tokens],
    config: ExploreConfig,
) -> dict[str, Any]:
    """Return the pairs along a sampled attempt.

    Where the token there is the better one, the pair stands on the attempt. At the first
    place where a proposal is better by `min_gap`, the attempt is left: the row's text goes
    on with that token and one of its right continuations.
    """
    pairs: list[Pair] = []
    for place in places:
        own = text.tokens[place.position]
        own_quality = qualities[place.position, own]
        best = max(place.proposals, key=lambda v: qualities[place.position, v])
        best_quality = qualities[place.position, best]
        if best_quality - own_quality >= config.min_gap:
            prefix = text.tokens[text.start : place.position]
            ending = endings[place.position, best]
            reply = tokenizer.decode((*prefix, best, *ending))
            turned = tokenizer.render(_messages(text.problem, reply))
            if turned[: place.position + 1] == (*text.tokens[: place.position], best):
                pairs.append(Pair(place.position, best, own, best_quality, own_quality))
                return write_row(_messages(text.problem, reply), pairs)
            break  # the text would be cut into other tokens: no pair can be written for it
        for token in place.proposals:
            quality = qualities[place.position, token]
            if own_quality - quality >= config.min_gap:
                pairs.append(_pair(text, place, token, own_quality, quality))
    return _row(text, pairs)


def _row(text: _Text, pairs: Iterable[Pair]) -> dict[str, Any]:
    return write_row(_messages(text.problem, text.reply), pairs)


