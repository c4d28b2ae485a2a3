"""Adaptive consistency: draw attempts until the vote on the answer is settled.

Source: Aggarwal et al. (arXiv 2305.11860): under a flat prior over the shares of the two most
frequent answers, the vote is settled once the first is the greater with a probability of at
least .95. We differ: attempts are drawn several at a time, as many as it takes at the least to
settle the vote, so that it is settled after no other attempt than if they were drawn one by one;
the probability, there integrated numerically, is the sum of binomials that it equals; an attempt
without an answer has no vote, where there "no answer" is an answer like others.
"""

import math
from collections import Counter
from collections.abc import Callable

from system2.core import SamplingParams, Steps, Tokens, UserError
from system2.search.moves import check_dials, expand
from system2.tree import ROOT, Tree

THRESHOLD = 0.95
"""How probable it must be that the leading answer leads, unless told otherwise (the paper's)."""


def lead_probability(first: int, second: int) -> float:
    """Return how probable it is that the answer of `first` votes is the more frequent of two.

    It is P(p > 1/2) for p ~ Beta(first + 1, second + 1).

    >>> lead_probability(0, 0), lead_probability(1, 0), lead_probability(4, 0)
    (0.5, 0.75, 0.96875)
    """
    draws = first + second + 1
    return sum(math.comb(draws, k) for k in range(second + 1, draws + 1)) / 2**draws


def adaptive_consistency(
    tree: Tree,
    *,
    samples: int,
    params: SamplingParams,
    answer_of: Callable[[Tokens], str | None],
    threshold: float = THRESHOLD,
) -> Steps[None]:
    """Draw whole attempts until the vote is settled, at most `samples`.

    `answer_of` reads the answer, in normal form, out of an attempt's tokens (None: none there).
    The vote is settled once `lead_probability` reaches the `threshold`, in (0, 1).
    Raises: `UserError` on a dial out of its range.
    """
    check_dials("adaptive_consistency", None, samples=samples)
    if not 0 < threshold < 1:
        raise UserError(
            f"adaptive_consistency: threshold is {threshold}; it must lie between 0 and 1"
        )
    return _adaptive_consistency(tree, samples, params, answer_of, threshold)


def _adaptive_consistency(
    tree: Tree,
    samples: int,
    params: SamplingParams,
    answer_of: Callable[[Tokens], str | None],
    threshold: float,
) -> Steps[None]:
    votes: Counter[str] = Counter()
    drawn = 0
    while drawn < samples:
        count = _fewest(votes, threshold, samples - drawn)
        if not count:
            return
        attempts = yield from expand(tree, [ROOT], count, params, ends=("eos", "stop"))
        drawn += count
        for attempt in attempts:
            if tree.nodes[attempt].terminal:
                answer = answer_of(tree.completion(attempt))
                votes.update([] if answer is None else [answer])


def _fewest(votes: Counter[str], threshold: float, most: int) -> int:
    """Return how few votes more, at most `most`, can settle it (0: it is settled)."""
    first, second, *_ = (*(count for _, count in votes.most_common(2)), 0, 0)
    for more in range(most):
        if lead_probability(first + more, second) >= threshold:
            return more
    return most
