"""Meta-critic: the value of a prefix in the light of the attempts that were tried before it.

v(Z, S, q) reads the prompt q, the attempts Z of this problem, each ended, and then the prefix S
that it judges, as one text; a process verifier, which it is otherwise, reads q and S alone.
What failed so far tells about the problem (it is hard) and about the prefix (it led here before):
after wrong attempts that begin alike, the chance that this one ends right is lower. Source:
Meta-CoT (arXiv 2501.04682, section 7, "Search^2", and figure 30), which has the idea and no
recipe. We differ, then, in having one: layout of the text and targets are ours
(`train.meta_critic`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from system2.core import ScoreRequest, Tokens
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.engine.tokenizer import Tokenizer
from system2.verify import process
from system2.verify.process import ProcessVerifier
from system2.verify.starts import completion_starts


class MetaCritic(nn.Module):
    """A learned `Verifier` that reads `ScoreRequest.tried` before the prefix it judges."""

    def __init__(self, judge: ProcessVerifier) -> None:
        super().__init__()
        self.judge = judge

    @property
    def policy(self) -> LanguageModel:
        """The policy whose attempts it judges."""
        return self.judge.policy

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
        """Return the logit, before calibration, that the attempt under way is right."""
        return self.judge(tokens)

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]` in [0, 1].

        Raises: `UserError` where a prefix does not hold its problem's prompt.
        """
        tokenizer, room = self.judge.tokenizer, self.policy.config.max_positions
        texts = [
            with_tried(prefix, start, request.tried, tokenizer, room)
            for request in requests
            for prefix, start in zip(
                request.prefixes, completion_starts(tokenizer, request), strict=True
            )
        ]
        values = iter(self.judge.values_at(texts, [[len(text) - 1] for text in texts]))
        return [[next(values)[0] for _ in request.prefixes] for request in requests]


def with_tried(
    prefix: Tokens, start: int, tried: Sequence[Tokens], tokenizer: Tokenizer, room: int
) -> Tokens:
    """Return a prefix with attempts put in after its prompt, the first `start` tokens.

    The most recent attempts, in order, that fit into `room` tokens with the prefix; whole ones
    only. One that was cut short is ended as a finished one is: by the tokenizer's end, or by a
    newline where it has none.
    """
    ending = (min(tokenizer.eos),) if tokenizer.eos else tokenizer.encode("\n")
    left = room - len(prefix)
    kept: list[Tokens] = []
    for attempt in reversed(tried):
        is_ended = attempt[-len(ending) :] == ending or attempt[-1:] in _ends(tokenizer)
        ended = attempt if is_ended else attempt + ending
        if len(ended) > left:
            break
        left -= len(ended)
        kept.append(ended)
    between = tuple(token for attempt in reversed(kept) for token in attempt)
    return prefix[:start] + between + prefix[start:]


def _ends(tokenizer: Tokenizer) -> set[Tokens]:
    return {(token,) for token in tokenizer.eos}


# In a folder


def made(policy: LocalPolicy, described: Mapping[str, Any]) -> MetaCritic:
    """Return a verifier of the described shape, its weights to be loaded. Raises: `UserError`."""
    return MetaCritic(process.made(policy, described))


def described(verifier: MetaCritic) -> dict[str, Any]:
    """Return what `made` needs to make its like."""
    return process.described(verifier.judge)
