"""The policy that runs here: a checkpoint, decoded in batches.

schedule -> forward -> choose: waiting prompts are prefilled together (each once, whatever the
number of its draws), draws of one prompt share a row until they differ, finished rows leave at
once and waiting ones take their place. Results do not depend on what else is in the batch.
Compare `transformers` generate, which runs a row a draw from the start, computes finished rows
to the end and needs one set of sampling parameters for a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import torch
from torch import Tensor

from system2.core import Completion, FinishReason, SampleRequest, SamplingParams, Tokens, UserError
from system2.engine import sampling
from system2.engine.model import LanguageModel
from system2.engine.session import Guide, Session
from system2.engine.tokenizer import Tokenizer, load_tokenizer
from system2.engine.weights import DTYPES, find_checkpoint, load_model


@dataclass(slots=True)
class _Draw:
    """One completion under way: draw `i` of prefix `p` of request `r`."""

    r: int
    p: int
    i: int
    prefix: Tokens
    params: SamplingParams
    max_tokens: int
    seed: int
    tokens: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    finish_reason: FinishReason | None = None
    stream: list[float] = field(default_factory=list[float])

    def uniform(self) -> float:
        """Return the uniform number in [0, 1) that its next token is drawn with."""
        return self.stream[len(self.tokens)] if self.stream else 0.0


_Row: TypeAlias = list[_Draw]
"""Draws of one prompt under the same parameters that have chosen the same tokens so far."""


@dataclass(slots=True)
class LocalPolicy:
    """A checkpoint as a `Policy`; `guide` adjusts its next-token logits (LLM2).

    `max_rows` draws are decoded at a time, in as many rows at most. `positions_computed`
    counts the positions run through the model since it was made.
    """

    model: LanguageModel
    tokenizer: Tokenizer
    guide: Guide | None = None
    max_rows: int = 64
    positions_computed: int = 0

    @torch.inference_mode()
    def sample(self, requests: Sequence[SampleRequest]) -> list[list[list[Completion]]]:
        """Return completions `[r][p][i]`.

        Raises: `UserError` where a prefix leaves no room in the model's positions.
        """
        draws = self._draws(requests)
        # longest first: a late long row would be decoded alone
        waiting = sorted(draws, key=lambda d: (-len(d.prefix), d.r, d.p, d.i))
        session = Session(self.model, self.guide)
        live: list[_Row] = []
        while waiting or live:
            room = self.max_rows - sum(map(len, live))
            if waiting and 2 * room >= self.max_rows:
                live += self._admit(session, waiting, room)
            live = self._step(session, live)
        self.positions_computed += session.positions_computed
        finished = iter(draws)
        return [
            [[_completion(next(finished)) for _ in range(request.n)] for _ in request.prefixes]
            for request in requests
        ]

    def _draws(self, requests: Sequence[SampleRequest]) -> list[_Draw]:
        """Return one draw a completion asked for."""
        limit, vocab = self.model.config.max_positions, self.model.config.vocab_size
        draws: list[_Draw] = []
        for r, request in enumerate(requests):
            for p, prefix in enumerate(request.prefixes):
                if not 0 < len(prefix) < limit:
                    raise UserError(
                        f"a prefix of {len(prefix)} tokens does not fit the model's {limit}"
                        " positions (at least 1, and room for one more)"
                    )
                if not all(0 <= token < vocab for token in prefix):
                    raise UserError(
                        f"a prefix holds token {max(prefix)}; the model knows 0 to {vocab - 1}"
                    )
                room = min(request.params.max_tokens, limit - len(prefix))
                draws += [
                    _Draw(r, p, i, prefix, request.params, room, request.seed)
                    for i in range(request.n)
                ]
        return draws

    def _admit(self, session: Session, waiting: list[_Draw], room: int) -> list[_Row]:
        """Move draws from waiting into the session, prefilling each distinct prefix once."""
        prompts: dict[Tokens, dict[SamplingParams, _Row]] = {}
        for draw in waiting[:room]:
            if draw.params.temperature > 0:
                draw.stream = sampling.uniforms(draw.seed, draw.p, draw.i, draw.max_tokens)
            prompts.setdefault(draw.prefix, {}).setdefault(draw.params, []).append(draw)
        del waiting[:room]
        session.admit(list(prompts), [len(rows) for rows in prompts.values()])
        return [row for rows in prompts.values() for row in rows.values()]

    def _step(self, session: Session, live: list[_Row]) -> list[_Row]:
        """Give every draw one token; return the rows that go on."""
        logits = self.model.logits(session.hidden).float()
        if not bool(logits.amax().isfinite()):
            raise UserError(
                f"{self.tokenizer.folder}: the model's logits are not finite; its weights are "
                "broken, or too large for their type"
            )
        if session.guide is not None:
            logits = session.guide.adjust(session, logits)
        chosen, logprobs = self._choose(logits, live)
        parts = [
            self._parted(row, tokens, values)
            for row, tokens, values in zip(live, chosen, logprobs, strict=True)
        ]
        nexts = _placed(parts)
        if not nexts:
            session.clear()
            return []
        rows = torch.tensor([row for row, _, _ in nexts], device=session.device)
        tokens = torch.tensor([token for _, token, _ in nexts], device=session.device)
        if session.guide is not None:
            session.guide.advance(session, rows, tokens)
        else:
            session.extend(rows, tokens)
        return [draws for _, _, draws in nexts]

    def _choose(
        self, logits: Tensor, live: Sequence[_Row]
    ) -> tuple[list[list[int]], list[list[float]]]:
        """Choose a token for each draw of each row, under the row's parameters."""
        device, params = logits.device, [row[0].params for row in live]
        temperature = torch.tensor([p.temperature for p in params], device=device)
        if any(p.top_p < 1 or p.top_k for p in params):
            warm = torch.where(temperature == 0, 1.0, temperature)[:, None]
            top_p = torch.tensor([p.top_p for p in params], device=device)
            top_k = torch.tensor([p.top_k for p in params], device=device)
            logits = sampling.truncate(logits / warm, top_p, top_k) * warm
        width = max(map(len, live))
        grid = [[d.uniform() for d in row] + [0.0] * (width - len(row)) for row in live]
        uniform = torch.tensor(grid, dtype=torch.float64, device=device)
        tokens, logprobs = sampling.choose(logits, temperature, uniform)
        return cast(list[list[int]], tokens.tolist()), cast(list[list[float]], logprobs.tolist())

    def _parted(
        self, row: _Row, tokens: Sequence[int], logprobs: Sequence[float]
    ) -> dict[int, _Row]:
        """Append a token to each of a row's draws; return those that go on, by their token."""
        parts: dict[int, _Row] = {}
        for draw, token, logprob in zip(row, tokens, logprobs, strict=False):  # padded on the right
            draw.tokens.append(token)
            draw.logprobs.append(logprob)
            draw.finish_reason = self._finish_reason(draw)
            if draw.finish_reason is None:
                parts.setdefault(token, []).append(draw)
        return parts

    def _finish_reason(self, draw: _Draw) -> FinishReason | None:
        """Return why a draw ends with its last token, None where it goes on."""
        if draw.tokens[-1] in self.tokenizer.eos:
            return "eos"
        if draw.params.stop:
            longest = max(
                len(text.encode()) for text in draw.params.stop
            )  # a token is a byte or more
            tail = self.tokenizer.decode(draw.tokens[-longest - 1 :])
            if any(text in tail for text in draw.params.stop):
                return "stop"
        return "length" if len(draw.tokens) == draw.max_tokens else None


def _placed(parts: Sequence[dict[int, _Row]]) -> list[tuple[int, int, _Row]]:
    """Return the next rows as (row they go on from, token, draws).

    A row's first part stays in its place where it can, for then nothing is copied; the others
    fill the places of rows that ended.
    """
    count = sum(map(len, parts))
    stay: dict[int, tuple[int, int, _Row]] = {}
    others: list[tuple[int, int, _Row]] = []
    for row, part in enumerate(parts):
        for token, draws in part.items():
            if row < count and row not in stay:
                stay[row] = (row, token, draws)
            else:
                others.append((row, token, draws))
    left = iter(others)
    return [stay[place] if place in stay else next(left) for place in range(count)]


def _completion(draw: _Draw) -> Completion:
    assert draw.finish_reason is not None
    return Completion(tuple(draw.tokens), tuple(draw.logprobs), draw.finish_reason)


def load_policy(
    name: str, *, dtype: str | None = None, device: str | None = None, max_rows: int = 64
) -> LocalPolicy:
    """Load the policy called `tiny`, a checkpoint folder or `hub:NAME`.

    `device` None: a GPU where there is one, else the CPU; `dtype` None: bfloat16 on a GPU,
    float32 on a CPU (bfloat16 is 2.5 to 4 times slower there without AMX).
    """
    folder = find_checkpoint(name)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    kind = DTYPES[dtype] if dtype else DTYPES["float32" if where.type == "cpu" else "bfloat16"]
    model = load_model(folder, dtype=kind, device=where)
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise UserError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, the model only "
            f"{model.config.vocab_size}: they do not belong together"
        )
    return LocalPolicy(model, tokenizer, max_rows=max_rows)
