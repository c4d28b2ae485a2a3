"""Searches that only draw whole attempts: greedy, independent samples, best of N, votes.

The first N samples of a tree are the same whatever N is, so majority@4 is read off the same
draws as majority@20. Majority voting (self-consistency, Wang et al., arXiv 2203.11171) grows the
tree of `sample`, its weighted kind (Li et al., arXiv 2206.02336) that of `best_of_n`: only the
rule that chooses an attempt differs.
"""

from dataclasses import replace

from system2.core import SamplingParams, Steps
from system2.search.moves import check_dials, evaluate, expand, is_solved
from system2.tree import ROOT, Tree

FEW = 4
"""Attempts drawn at a time where a search may stop before it has drawn all."""


def greedy(tree: Tree, *, params: SamplingParams) -> Steps[None]:
    """Take the likeliest token at every position: one attempt, whatever `params.temperature`."""
    yield from sample(tree, samples=1, params=replace(params, temperature=0.0))


def sample(tree: Tree, *, samples: int, params: SamplingParams) -> Steps[None]:
    """Draw independent whole attempts; one cut by `params.max_tokens` is not terminal."""
    yield from expand(tree, [ROOT], samples, params, ends=("eos", "stop"))


def majority(tree: Tree, *, samples: int, params: SamplingParams) -> Steps[None]:
    """Draw what `sample` draws, for the most frequent answer to be chosen."""
    yield from sample(tree, samples=samples, params=params)


def best_of_n(
    tree: Tree, *, samples: int, params: SamplingParams, accept: float | None = None
) -> Steps[None]:
    """Draw independent whole attempts and score those that came to an end.

    With `accept` they are drawn a few at a time, until one has a value >= `accept`.
    Raises: `UserError` on a dial out of its range.
    """
    check_dials("best_of_n", accept, samples=samples)
    return _scored(tree, samples, params, accept)


def weighted_majority(
    tree: Tree, *, samples: int, params: SamplingParams, accept: float | None = None
) -> Steps[None]:
    """Draw and score what `best_of_n` does, for the answer of the greatest sum to be chosen.

    Raises: `UserError` on a dial out of its range.
    """
    check_dials("weighted_majority", accept, samples=samples)
    return _scored(tree, samples, params, accept)


def _scored(tree: Tree, samples: int, params: SamplingParams, accept: float | None) -> Steps[None]:
    at_a_time = samples if accept is None else FEW
    for start in range(0, samples, at_a_time):
        since = len(tree.nodes)
        yield from sample(tree, samples=min(at_a_time, samples - start), params=params)
        new = range(since, len(tree.nodes))
        yield from evaluate(tree, [leaf for leaf in new if tree.nodes[leaf].terminal])
        if is_solved(tree, since, accept):
            return
