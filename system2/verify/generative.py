"""Generative verifier: a language model is asked whether a solution is right, and says Yes or No.

The value is the probability of Yes against No, the two made to sum to 1, as the model's next
token after a prompt that shows problem and attempt; with `chains`, the model first writes that
many checks of the attempt, each followed by a verdict, and the value is the mean of the
verdicts' probabilities; with solved problems, those most like the problem are shown first.
Source: GenRM and GenRM-CoT (Zhang et al., arXiv 2408.15240, sections 3.1 to 3.3: the token
probability, and the average over K sampled verifications, called majority voting there);
Meta-CoT (arXiv 2501.04682, figure 29). We differ: No is there to divide by, so that a model
that says neither is unsure and not against; a prefix is judged as it stands, so that steps can
be judged, too; and the words are ours.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from system2.core import (
    Problem,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    Tokens,
    UserError,
    derive_seed,
)
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.engine.tokenizer import Tokenizer
from system2.verify.described import count_in, number_in
from system2.verify.neighbours import Solved, SolvedIndex
from system2.verify.starts import completion_starts

QUESTION = "Is this solution right? Answer Yes or No."
CHAIN_QUESTION = (
    "Is this solution right? Check it step by step, then answer: Right: Yes or Right: No."
)
MARK = "Right:"
"""What stands before the verdict at the end of a written check."""
MOST = 1_000_000
"""The largest of the whole numbers that a folder may hold."""
BATCH_TOKENS = 8_192
"""Padded tokens that are judged at a time."""


@dataclass(frozen=True, slots=True)
class Judging:
    """How a model is asked.

    `chains` checks are written before a verdict (0: none, the verdict comes at once), each of
    at most `chain_tokens`, at `temperature`. `neighbours` solved problems are shown, found by
    `embedding`. Raises: `UserError` on a number out of its range.
    """

    chains: int = 0
    chain_tokens: int = 256
    temperature: float = 1.0
    neighbours: int = 0
    embedding: str = "hashed"
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"chains": 0, "chain_tokens": 1, "neighbours": 0}
        for name, lowest in least.items():
            if not lowest <= getattr(self, name) <= MOST:
                raise UserError(f"{name} is {getattr(self, name)}; it must lie in {lowest}..{MOST}")
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"temperature is {self.temperature}; it must be finite and >= 0")


class GenerativeVerifier(nn.Module):
    """A language model as a `Verifier`; it reads texts, so it may judge any policy's attempts
    that are written with its tokenizer.

    Raises: `UserError` where Yes and No begin alike in this tokenizer.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        judging: Judging | None = None,
        solved: Sequence[Solved] = (),
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.judging = judging or Judging()
        self.index = SolvedIndex(tuple(solved), self.judging.embedding)
        self._writer = LocalPolicy(model, tokenizer)
        asked = tokenizer.prompt("a")
        # where a reply follows a special token or white space, it begins without a space
        opened = tokenizer.decode(asked[-1:])
        self.reply = Verdicts.of(tokenizer, "" if not opened.strip(" \n\t") else " ")
        self.conclusion = Verdicts.of(tokenizer, " ")

    @property
    def policy(self) -> LanguageModel:
        """The model that judges."""
        return self.model

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]` in [0, 1]; the checks are drawn from seed, problem and prefix.

        Raises: `UserError` where a problem leaves no room in the model's positions, or a
        prefix does not hold its problem's prompt.
        """
        shown = self.index.nearest([r.problem for r in requests], self.judging.neighbours)
        prompts: list[Tokens] = []
        seeds: list[int] = []
        for request, neighbours in zip(requests, shown, strict=True):
            starts = completion_starts(self.tokenizer, request)
            for prefix, start in zip(request.prefixes, starts, strict=True):
                attempt = self.tokenizer.decode(prefix[start:])
                prompts.append(self.question(request.problem, attempt, neighbours))
                seeds.append(derive_seed("check", self.judging.seed, request.problem.id, prefix))
        if self.judging.chains:
            values = iter(self._checked(prompts, seeds))
        else:
            values = iter(self.probabilities(prompts, self.reply))
        return [[next(values) for _ in request.prefixes] for request in requests]

    def question(self, problem: Problem, attempt: str, neighbours: Sequence[Solved] = ()) -> Tokens:
        """Return the tokens that ask whether an attempt (text) at a problem is right.

        What does not fit into the model's positions is left out: first the solved problems,
        the least alike first, then the beginning of the attempt.
        Raises: `UserError` where not even the problem fits.
        """
        room = self.model.config.max_positions - self._room_of_reply()
        shown, text, note = list(neighbours), attempt, ""
        while True:
            tokens = self.tokenizer.prompt(_asked(problem, note + text, shown, self.judging.chains))
            over = len(tokens) - room
            if over <= 0:
                return tokens
            if shown:
                _ = shown.pop()
            elif text:
                # the end says most of how it came out
                text, note = self.tokenizer.decode(self.tokenizer.encode_plain(text)[over:]), "... "
            elif note:
                note = ""
            else:
                raise UserError(
                    f"problem {problem.id}: judging it takes {over} tokens more than the model "
                    f"has positions ({self.model.config.max_positions})"
                )

    def _room_of_reply(self) -> int:
        """Return how many positions are kept for what follows the question."""
        if not self.judging.chains:
            return len(self.reply.lead) + 1
        quarter = self.model.config.max_positions // 4
        return min(self.judging.chain_tokens, quarter) + self._room_of_conclusion()

    def _room_of_conclusion(self) -> int:
        return len(self.tokenizer.encode(f"\n{MARK}")) + len(self.conclusion.lead) + 1

    def _checked(self, prompts: Sequence[Tokens], seeds: Sequence[int]) -> list[float]:
        """Return the mean verdict of each prompt's checks."""
        num, last = self.judging.chains, self.model.config.max_positions
        requests: list[SampleRequest] = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            room = last - len(prompt) - self._room_of_conclusion()
            most = min(self.judging.chain_tokens, room)
            params = SamplingParams(most, self.judging.temperature, stop=(MARK,))
            requests.append(SampleRequest((prompt,), num, params, seed))
        drawn = self._writer.sample(requests)
        concluded = [
            self._concluded(prompt, completion.tokens)
            for prompt, ((*completions,),) in zip(prompts, drawn, strict=True)
            for completion in completions
        ]
        verdicts = self.probabilities(concluded, self.conclusion)
        return [math.fsum(verdicts[i : i + num]) / num for i in range(0, len(verdicts), num)]

    def _concluded(self, prompt: Tokens, check: Tokens) -> Tokens:
        """Return a question and a written check, up to where its verdict is to come."""
        text = self.tokenizer.decode(check).partition(MARK)[0].rstrip()
        room = self.model.config.max_positions - len(prompt) - self._room_of_conclusion()
        written = self.tokenizer.encode_plain(text)[: max(0, room)]
        return prompt + written + self.tokenizer.encode(f"\n{MARK}")

    @torch.inference_mode()
    def probabilities(self, prompts: Sequence[Tokens], verdicts: "Verdicts") -> list[float]:
        """Return the probability of Yes against No after each prompt, in [0, 1]."""
        texts = [prompt + verdicts.lead for prompt in prompts]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = [0.0] * len(texts)
        weight = self.model.lm_head.weight
        some: list[int] = []
        for at, i in enumerate(order):
            some.append(i)
            is_last = at + 1 == len(order)
            if is_last or (len(some) + 1) * len(texts[order[at + 1]]) > BATCH_TOKENS:
                tokens = torch.zeros(len(some), len(texts[i]), dtype=torch.long)
                for row, j in enumerate(some):
                    tokens[row, : len(texts[j])] = torch.tensor(texts[j])
                states = self.model.hidden(tokens.to(weight.device))
                ends = torch.tensor([len(texts[j]) - 1 for j in some], device=weight.device)
                last = states[torch.arange(len(some), device=weight.device), ends]
                logits = (last @ weight[[verdicts.yes, verdicts.no]].T).float()
                for j, value in zip(some, logits.softmax(dim=1)[:, 0], strict=True):
                    found[j] = float(value)
                some = []
        return found


@dataclass(frozen=True, slots=True)
class Verdicts:
    """How Yes and No are told apart: after the tokens `lead`, which they share, one of two."""

    lead: Tokens
    yes: int
    no: int

    @classmethod
    def of(cls, tokenizer: Tokenizer, space: str) -> "Verdicts":
        """Return the verdicts of a tokenizer, each after `space`. Raises: `UserError`."""
        yes, no = tokenizer.encode(f"{space}Yes"), tokenizer.encode(f"{space}No")
        for at, (one, other) in enumerate(zip(yes, no, strict=False)):
            if one != other:
                return cls(yes[:at], one, other)
        raise UserError(
            f"{tokenizer.folder}: the tokenizer does not tell Yes from No; "
            "use another verifier than a generative one"
        )


def _asked(problem: Problem, attempt: str, shown: Sequence[Solved], chains: int) -> str:
    """Return the text of the question; the most alike solved problem comes last, next to it."""
    before = [f"Problem:\n{one.prompt}\nSolution:\n{one.solution}\n\n" for one in reversed(shown)]
    question = CHAIN_QUESTION if chains else QUESTION
    return "".join(before) + f"Problem:\n{problem.prompt}\nSolution:\n{attempt}\n\n{question}"


# In a folder


def made(policy: LocalPolicy, described: Mapping[str, Any]) -> GenerativeVerifier:
    """Return a verifier of the described shape, its weights to be loaded. Raises: `UserError`."""
    embedding: object = described.get("embedding")
    judging = Judging(
        chains=count_in(described, "chains", least=0, most=MOST),
        chain_tokens=count_in(described, "chain_tokens", least=1, most=MOST),
        temperature=number_in(described, "temperature"),
        neighbours=count_in(described, "neighbours", least=0, most=MOST),
        embedding=embedding if isinstance(embedding, str) else repr(embedding),
        seed=count_in(described, "seed", least=-(2**63), most=2**63),
    )
    solved = _solved_in(described)
    return GenerativeVerifier(copy.deepcopy(policy.model), policy.tokenizer, judging, solved)


def _solved_in(described: Mapping[str, Any]) -> list[Solved]:
    """Return the solved problems that the folder says. Raises: `UserError`."""
    rows: object = described.get("solved")
    if not isinstance(rows, list):
        raise UserError("solved is no list of [id, prompt, solution]")
    found: list[Solved] = []
    for number, row in enumerate(cast(list[object], rows), start=1):
        texts = cast(list[object], row) if isinstance(row, list) else []
        if len(texts) != 3 or not all(isinstance(text, str) for text in texts):
            raise UserError(f"solved problem {number} is not [id, prompt, solution]")
        found.append(Solved(*cast(list[str], texts)))
    return found


def described(verifier: GenerativeVerifier) -> dict[str, Any]:
    """Return what `made` needs to make its like."""
    judging = verifier.judging
    return {
        "layout": "separate",  # a whole model: it reads no hidden states of the policy
        "chains": judging.chains,
        "chain_tokens": judging.chain_tokens,
        "temperature": judging.temperature,
        "neighbours": judging.neighbours,
        "embedding": judging.embedding,
        "seed": judging.seed,
        "solved": [[one.id, one.prompt, one.solution] for one in verifier.index.solved],
    }
