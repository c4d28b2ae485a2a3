"""Process advantage: a step is judged by what it gains for a prover, too (PAV).

The effective value of a step a after a prefix s is Q(s, a) + alpha * A(s, a): Q is a process
verifier's value of the prefix that ends with the step, and A = Q_mu(s, a) - V_mu(s) is what the
step adds to the chances of a prover mu. The prover draws K attempts and keeps the best, so
Q_mu = 1 - (1 - Q)^K; V_mu(s) is the same of the prefix without the step, since a step leads
where it leads. Source: PAV (Setlur et al., arXiv 2410.08146, equation 5 and section 4): K = 4
served best there, 2 being too weak and 32 saturated. We differ: values have to lie in [0, 1],
and the effective value, in [-alpha, 1 + alpha], is brought there by (x + alpha) / (1 + 2 alpha),
which keeps every order and every difference, where cutting it off would make ties of the best
and of the worst. A finished attempt has no step left to choose by, so its advantage counts as 0
and finished attempts are ordered by Q alone, as the paper picks its final answer.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from system2.core import ScoreRequest, Tokens, UserError
from system2.engine.local import LocalPolicy
from system2.engine.model import LanguageModel
from system2.verify import process
from system2.verify.described import count_in, number_in
from system2.verify.process import ProcessVerifier
from system2.verify.starts import completion_starts

ALPHA = 1.0
"""The weight of the advantage, unless told otherwise."""
BEST_OF = 4
"""The prover's attempts, unless told otherwise: the paper's choice."""
MOST_OF, MOST_ALPHA = 1_000_000, 1_000.0
"""The most attempts that a prover may be said to make, and the greatest weight."""


def best_of_k(value: float, k: int) -> float:
    """Return the probability that the best of `k` attempts is right, if one is with `value`.

    `value` in [0, 1], `k` >= 1; exact for small values too.

    >>> best_of_k(0.5, 4)
    0.9375
    """
    return 1.0 if value >= 1 else -math.expm1(k * math.log1p(-value))


def effective_value(value: float, before: float, *, alpha: float, k: int) -> float:
    """Return Q + alpha * (Q_mu - V_mu), in [-alpha, 1 + alpha], under the best-of-`k` prover.

    `value` is Q after the step and `before` Q before it, both in [0, 1].

    >>> effective_value(0.5, 0.0, alpha=2.0, k=1)
    1.5
    """
    return value + alpha * (best_of_k(value, k) - best_of_k(before, k))


def in_unit(effective: float, alpha: float) -> float:
    """Bring an effective value into [0, 1]: (x + alpha) / (1 + 2 alpha), which keeps order.

    >>> in_unit(-2.0, 2.0), in_unit(0.5, 2.0), in_unit(3.0, 2.0)
    (0.0, 0.5, 1.0)
    """
    return min(1.0, max(0.0, (effective + alpha) / (1 + 2 * alpha)))


class AdvantageVerifier(nn.Module):
    """A `Verifier` that judges steps by a process verifier's values before and after them.

    `alpha` in [0, 1000] weighs the advantage, `k` >= 1 counts the prover's attempts.
    Raises: `UserError` on a number out of its range.
    """

    def __init__(self, judge: ProcessVerifier, *, alpha: float = ALPHA, k: int = BEST_OF) -> None:
        super().__init__()
        if not 0 <= alpha <= MOST_ALPHA:
            raise UserError(f"alpha is {alpha}; it must lie in [0, {MOST_ALPHA:g}]")
        if not 1 <= k <= MOST_OF:
            raise UserError(f"best_of is {k}; it must lie in 1..{MOST_OF}")
        self.judge = judge
        self.alpha, self.k = alpha, k

    @property
    def policy(self) -> LanguageModel:
        """The policy whose steps it judges."""
        return self.judge.policy

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]` in [0, 1].

        Raises: `UserError` where a prefix does not hold its problem's prompt.
        """
        parents = [
            [
                self.parent(prefix, start)
                for prefix, start in zip(
                    request.prefixes,
                    completion_starts(self.judge.tokenizer, request),
                    strict=True,
                )
            ]
            for request in requests
        ]
        asked = [
            # prefixes that share a parent ask for it once
            tuple(dict.fromkeys((*request.prefixes, *before)))
            for request, before in zip(requests, parents, strict=True)
        ]
        judged = self.judge.score(
            [
                ScoreRequest(request.problem, prefixes, request.tried)
                for request, prefixes in zip(requests, asked, strict=True)
            ]
        )
        found: list[list[float]] = []
        for request, before, prefixes, values in zip(requests, parents, asked, judged, strict=True):
            value_of = dict(zip(prefixes, values, strict=True))
            found.append(
                [
                    self._value(value_of[prefix], value_of[parent])
                    for prefix, parent in zip(request.prefixes, before, strict=True)
                ]
            )
        return found

    def parent(self, prefix: Tokens, start: int) -> Tokens:
        """Return a prefix without its last step, whole or begun; `start` tokens are the prompt.

        A prefix without a step, and a finished attempt, are their own parents: no advantage.
        """
        completion = prefix[start:]
        if not completion or completion[-1] in self.judge.tokenizer.eos:
            return prefix
        ends = [0, *self.judge.step_ends.ends(completion)]
        return prefix[: start + max(end for end in ends if end < len(completion))]

    def _value(self, value: float, before: float) -> float:
        return in_unit(effective_value(value, before, alpha=self.alpha, k=self.k), self.alpha)


# In a folder


def made(policy: LocalPolicy, described: Mapping[str, Any]) -> AdvantageVerifier:
    """Return a verifier of the described shape, its weights to be loaded. Raises: `UserError`."""
    k = count_in(described, "best_of", least=1, most=MOST_OF)
    judge = process.made(policy, described)
    return AdvantageVerifier(judge, alpha=number_in(described, "alpha"), k=k)


def described(verifier: AdvantageVerifier) -> dict[str, Any]:
    """Return what `made` needs to make its like: what the process verifier needs, and more."""
    return {**process.described(verifier.judge), "alpha": verifier.alpha, "best_of": verifier.k}
