"""Continuous batching: requests join while others are under way, and leave as they end.

admit -> prefill -> step -> choose: waiting prompts are run in stretches of at most
`max_batch_tokens` between the steps of the rows under way; draws of one prompt share a row until
they differ; a row that ends leaves at once. Every request gets its share of the rows. What a
draw becomes depends on its request alone, never on what else is in the batch. Compare
`transformers` generate, which runs a row a draw from the start, computes finished rows to the
end and needs one set of sampling parameters for a batch.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import TypeAlias, cast

import torch
from torch import Tensor

from system2.core import (
    Alternatives,
    Completion,
    FinishReason,
    SampleRequest,
    SamplingParams,
    Tokens,
    UserError,
)
from system2.engine import sampling
from system2.engine.prefill import Prefill
from system2.engine.prefixes import PrefixTree, num_shared
from system2.engine.session import Guide, Session
from system2.engine.step import Layers
from system2.engine.tokenizer import Tokenizer

TRUNK_POSITIONS = 3072
"""A prompt is kept once for all its rows where those would hold so many copied positions in all.

Below that the second attention that a trunk takes costs more than the copies do: on a CPU, models
of 0.8M and 5M parameters break even at 25 draws of 128 tokens and at 8 of 400.
"""
TRUNK_POSITIONS_STATIC = 1 << 16
"""The same where steps without trunks are static: those with one are run kernel by kernel.

Reckoned, not measured: a GPU reads so many positions in the time that a step's launches take.
"""
SHARED_TOKENS = 16
"""A prompt waits for another that is run first where they share so many unknown tokens."""


@dataclass(slots=True, eq=False)
class Draw:
    """One completion under way: draw `i` of prefix `p` of a job's request, or of the whole one."""

    job: "Job"
    p: int
    i: int
    prefix: Tokens
    params: SamplingParams
    max_tokens: int
    tokens: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    alternatives: list[Alternatives] = field(default_factory=list[Alternatives])
    finish_reason: FinishReason | None = None
    stream: list[float] = field(default_factory=list[float])

    def uniform(self) -> float:
        """Return the uniform number in [0, 1) that its next token is drawn with."""
        return self.stream[len(self.tokens)] if self.stream else 0.0

    def completion(self) -> Completion:
        """Return what was drawn. It has to be finished."""
        assert self.finish_reason is not None, "the draw is under way"
        told = tuple(self.alternatives)
        return Completion(tuple(self.tokens), tuple(self.logprobs), self.finish_reason, told)


@dataclass(slots=True, eq=False)
class Job:
    """A request under way: its draws, prefix by prefix; how many are running or done.

    Each of its tokens is told with so many alternatives.
    """

    request: SampleRequest
    num_alternatives: int = 0
    draws: list[Draw] = field(default_factory=list[Draw])
    num_started: int = 0
    num_finished: int = 0
    is_cancelled: bool = False

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.is_cancelled or self.num_finished == len(self.draws)

    def completions(self) -> list[list[Completion]]:
        """Return completions `[p][i]` of a job that is done."""
        finished = iter(self.draws)
        n = range(self.request.n)
        return [[next(finished).completion() for _ in n] for _ in self.request.prefixes]


_Row: TypeAlias = list[Draw]
"""Draws of one prompt under the same parameters that have chosen the same tokens so far."""


@dataclass(slots=True)
class _Kinds:
    """The rows' sampling parameters as tensors, made again when the rows change.

    Rows `asking` want up to `num_alternatives` likeliest tokens told.
    """

    temperature: Tensor
    top_p: Tensor
    top_k: Tensor
    is_greedy: bool
    is_cut: bool
    asking: list[int]
    num_alternatives: int


class Decoder:
    """Requests in, completions out, a token at a time.

    At most `max_rows` draws are under way; a forward runs at most `max_batch_tokens` tokens of
    prompts. `session` is an idle one over the same layers to go on with (None: a new one).
    `positions_requested` counts the positions that completions asked for hold
    (prompts, and all tokens but the last, draw by draw), `positions_computed` those that were
    run; the rest was found in the tree, or shared.
    """

    def __init__(
        self,
        layers: Layers,
        tokenizer: Tokenizer,
        tree: PrefixTree | None = None,
        *,
        session: Session | None = None,
        max_rows: int = 64,
        max_batch_tokens: int = 2048,
    ) -> None:
        self.layers, self.tokenizer, self.tree = layers, tokenizer, tree
        self.guide = cast(Guide | None, layers.reader)
        self.max_rows, self.max_batch_tokens = max_rows, max_batch_tokens
        self.session = session or Session(layers)
        self.positions_requested = self.positions_computed = 0
        self._waiting: list[_Row] = []
        self._joining: tuple[Prefill, list[int], list[_Row]] | None = None
        self._live: list[_Row] = []
        self._kinds: _Kinds | None = None

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._waiting or self._live or self._joining)

    @property
    def num_waiting(self) -> int:
        """How many draws have not begun."""
        return sum(map(len, self._waiting))

    @property
    def num_live(self) -> int:
        """How many draws are under way."""
        return sum(map(len, self._live))

    def submit(
        self,
        request: SampleRequest,
        *,
        num_alternatives: int = 0,
        first: tuple[int, int] = (0, 0),
    ) -> Job:
        """Queue a request. Raises: `UserError` where a prefix does not fit the model.

        One that fills the model's positions has empty completions that end by "length".
        Completions tell `num_alternatives` likeliest tokens of each place. `first` (p, i) numbers
        the first draw of a part of a larger request: it draws what the whole would.
        """
        job, (first_p, first_i) = Job(request, num_alternatives), first
        config, params = self.layers.model.config, request.params
        for p, prefix in enumerate(request.prefixes, first_p):
            _check(prefix, config.max_positions, config.vocab_size)
            room = min(params.max_tokens, config.max_positions - len(prefix))
            numbers = range(first_i, first_i + request.n)
            row = [Draw(job, p, i, prefix, params, room) for i in numbers]
            job.draws += row
            if not room:
                for draw in row:
                    draw.finish_reason = "length"
                job.num_finished += len(row)
            elif row:
                self._waiting.append(row)
        return job

    def cancel(self, job: Job) -> None:
        """Drop a job; its rows leave with the next step."""
        job.is_cancelled = True
        self._waiting = [row for row in self._waiting if row[0].job is not job]

    @torch.inference_mode()
    def step(self) -> None:
        """Admit and run what waits, then give every draw under way one token."""
        if self._joining is None and self._waiting:
            self._admit()
        if self._joining is not None:
            prefill, rows, draws = self._joining
            prefill.advance(self.max_batch_tokens)
            if prefill.is_done:
                self._join(prefill, rows, draws)
        if self._live:
            self._step()

    # Admission

    def _admit(self) -> None:
        """Start to run the prompts of waiting draws, if there is room enough for them."""
        room = self.max_rows - self.num_live
        if self._live and room < min(self.max_rows // 4, self.num_waiting):
            return
        prompts: dict[Tokens, dict[SamplingParams, _Row]] = {}
        for draw in self._chosen(room):
            if draw.params.temperature > 0:
                seed = draw.job.request.seed
                draw.stream = sampling.uniforms(seed, draw.p, draw.i, draw.max_tokens)
            prompts.setdefault(draw.prefix, {}).setdefault(draw.params, []).append(draw)
        if not prompts:
            return
        ordered = sorted(prompts, key=len)  # neighbours run side by side
        of = [i for i, prompt in enumerate(ordered) for _ in prompts[prompt]]
        draws = [row for prompt in ordered for row in prompts[prompt].values()]
        prefill = Prefill(self.layers, ordered, self.tree)
        self._joining = (prefill, of, draws)

    def _chosen(self, room: int) -> list[Draw]:
        """Take as many draws as there is room for from what waits.

        The next prompt is always of the job that has the fewest draws started. A prompt waits
        for another where it can go on from what that leaves in the tree.
        """
        held = self._held_back(row[0].prefix for row in self._waiting)
        queues: dict[Job, deque[_Row]] = {}
        for row in self._waiting:
            if row[0].prefix not in held:
                queues.setdefault(row[0].job, deque()).append(row)
        heap = [(job.num_started, number, job) for number, job in enumerate(queues)]
        heapify(heap)
        chosen, begun = list[Draw](), set[int]()
        while heap and room:
            _, number, job = heappop(heap)
            row = queues[job].popleft()
            chosen += row[:room]
            begun |= {id(draw) for draw in row[:room]}
            job.num_started += len(row[:room])
            room -= len(row[:room])
            if queues[job]:
                heappush(heap, (job.num_started, number, job))
        rest = [[draw for draw in row if id(draw) not in begun] for row in self._waiting]
        self._waiting = [row for row in rest if row]
        return chosen

    def _held_back(self, prefixes: Iterable[Tokens]) -> set[Tokens]:
        """Return the prefixes that another one is to be run before."""
        if self.tree is None:
            return set()
        held, last = set[Tokens](), ()
        for prefix in sorted(set(prefixes)):
            shared = num_shared(last, prefix)
            if shared >= SHARED_TOKENS and shared - self.tree.match(prefix).length >= SHARED_TOKENS:
                held.add(prefix)
            else:
                last = prefix
        return held

    def _join(self, prefill: Prefill, of: list[int], draws: list[_Row]) -> None:
        """Take prompts that have been run into the session."""
        self._joining = None
        alive = [[d for d in row if not d.job.is_cancelled] for row in draws]
        kept = [i for i, row in enumerate(alive) if row]
        if kept:
            counts = [0] * len(prefill.prompts)
            for i in kept:
                counts[of[i]] += len(alive[i])
            is_static = self.session.static is not None
            least = TRUNK_POSITIONS_STATIC if is_static else TRUNK_POSITIONS
            is_trunk = [
                count > 1 and count * len(prompt) >= least
                for count, prompt in zip(counts, prefill.prompts, strict=True)
            ]
            self.session.join(prefill, [of[i] for i in kept], is_trunk)
            self._live += [alive[i] for i in kept]
            self._kinds = None
        for row in alive:
            self.positions_requested += sum(len(draw.prefix) for draw in row)
        self.positions_computed += prefill.num_computed

    # One token for all

    def _step(self) -> None:
        session = self.session
        logits = session.logits()
        if self.guide is not None:
            logits = self.guide.adjust(session, logits)
        chosen, logprobs, others = self._choose(logits)
        parts = [
            self._parted(row, tokens, values, others.get(place, ()))
            for place, (row, tokens, values) in enumerate(
                zip(self._live, chosen, logprobs, strict=True)
            )
        ]
        if self.tree is not None:
            for place, (row, part) in enumerate(zip(self._live, parts, strict=True)):
                if not part:
                    self._keep(place, row[0])
        if all(len(part) == 1 for part in parts):  # every row goes on as it is
            rows, ids = session.all_rows, [token for part in parts for token in part]
            self._live = [draws for part in parts for draws in part.values()]
        else:
            nexts = _placed(parts)
            rows = torch.tensor([row for row, _, _ in nexts], dtype=torch.long)
            rows, ids = rows.to(session.device), [token for _, token, _ in nexts]
            self._live = [draws for _, _, draws in nexts]
            self._kinds = None
        if not ids:
            session.take(rows)
            return
        tokens = torch.tensor(ids, device=session.device)
        before = session.positions_computed
        if self.guide is not None:
            self.guide.advance(session, rows, tokens)
        else:
            session.extend(rows, tokens)
        self.positions_computed += session.positions_computed - before
        self.positions_requested += self.num_live

    def _choose(
        self, logits: Tensor
    ) -> tuple[list[list[int]], list[list[float]], dict[int, Alternatives]]:
        """Choose a token for each draw of each row, under the row's parameters.

        And tell the alternatives of the rows that ask, by row.
        """
        kinds = self._kinds or self._make_kinds(logits.device)
        self._kinds = kinds
        if kinds.is_cut:
            warm = torch.where(kinds.temperature == 0, 1.0, kinds.temperature)[:, None]
            logits = logits - logits.amax(dim=-1, keepdim=True)  # a tiny T overflows nothing
            logits = sampling.truncate(logits / warm, kinds.top_p, kinds.top_k) * warm
        if kinds.is_greedy:
            tokens, logprobs = sampling.choose_greedily(logits)
        else:
            width = max(map(len, self._live))
            grid = [[d.uniform() for d in row] + [0.0] * (width - len(row)) for row in self._live]
            uniform = torch.tensor(grid, dtype=torch.float64, device=logits.device)
            tokens, logprobs = sampling.choose(logits, kinds.temperature, uniform)
        others: dict[int, Alternatives] = {}
        if kinds.asking:
            asked, count = kinds.asking, kinds.num_alternatives
            told = sampling.alternatives(logits[asked], kinds.temperature[asked], count)
            others = dict(zip(asked, told, strict=True))
        chosen = cast(list[list[int]], tokens.tolist())
        return chosen, cast(list[list[float]], logprobs.tolist()), others

    def _make_kinds(self, device: torch.device) -> _Kinds:
        params = [row[0].params for row in self._live]
        counts = [max(draw.job.num_alternatives for draw in row) for row in self._live]
        return _Kinds(
            torch.tensor([p.temperature for p in params], device=device),
            torch.tensor([p.top_p for p in params], device=device),
            torch.tensor([p.top_k for p in params], device=device),
            is_greedy=all(p.temperature == 0 for p in params),
            is_cut=any(p.top_p < 1 or p.top_k for p in params),
            asking=[place for place, count in enumerate(counts) if count],
            num_alternatives=max(counts),
        )

    def _parted(
        self, row: _Row, tokens: Sequence[int], logprobs: Sequence[float], others: Alternatives
    ) -> dict[int, _Row]:
        """Append a token to each of a row's draws; return those that go on, by their token."""
        if logprobs[0] != logprobs[0]:  # no number
            raise UserError(
                f"{self.tokenizer.folder}: the model's logits are not finite; its weights "
                "are broken, or too large for their type"
            )
        if len(tokens) < len(row):  # greedy draws share one choice
            tokens, logprobs = [tokens[0]] * len(row), [logprobs[0]] * len(row)
        parts: dict[int, _Row] = {}
        for draw, token, logprob in zip(row, tokens, logprobs, strict=False):
            if draw.job.is_cancelled:
                continue
            draw.tokens.append(token)
            draw.logprobs.append(logprob)
            if others and draw.job.num_alternatives:
                draw.alternatives.append(others[: draw.job.num_alternatives])
            draw.finish_reason = self._finish_reason(draw, token)
            if draw.finish_reason is None:
                parts.setdefault(token, []).append(draw)
            else:
                draw.job.num_finished += 1
        return parts

    def _finish_reason(self, draw: Draw, token: int) -> FinishReason | None:
        """Return why a draw ends with its last token, None where it goes on."""
        if token in self.tokenizer.eos:
            return "eos"
        if draw.params.stop:
            longest = max(len(text.encode()) for text in draw.params.stop)  # tokens have a byte
            tail = self.tokenizer.decode(draw.tokens[-longest - 1 :])
            if any(text in tail for text in draw.params.stop):
                return "stop"
        return "length" if len(draw.tokens) == draw.max_tokens else None

    def _keep(self, place: int, draw: Draw) -> None:
        """Keep what a row holds that is about to leave: all but a draw's last token was run."""
        assert self.tree is not None
        slabs, unread = self.session.text_of(place)
        text = (*draw.prefix, *draw.tokens[:-1])
        self.tree.insert(text[: len(text) - unread], slabs)


def _check(prefix: Tokens, limit: int, vocab: int) -> None:
    if not 0 < len(prefix) <= limit:
        raise UserError(
            f"a prefix of {len(prefix)} tokens does not fit the model's {limit}"
            " positions (at least 1 token)"
        )
    if not (min(prefix) >= 0 and max(prefix) < vocab):
        wrong = max(prefix) if max(prefix) >= vocab else min(prefix)
        raise UserError(f"a prefix holds token {wrong}; the model knows 0 to {vocab - 1}")


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
