"""Searches that only draw whole attempts: greedy, independent samples, best of N.

The first N samples of a tree are the same whatever N is, so majority@4 is read off the same
draws as majority@20.
"""

from dataclasses import replace

from system2.core import SamplingParams, Steps
from system2.search.moves import evaluate, expand
from system2.tree import ROOT, Tree


def greedy(tree: Tree, *, params: SamplingParams) -> Steps[None]:
    """Take the likeliest token at every position: one attempt, whatever `params.temperature`."""
    yield from sample(tree, samples=1, params=replace(params, temperature=0.0))


def sample(tree: Tree, *, samples: int, params: SamplingParams) -> Steps[None]:
    """Draw independent whole attempts; one cut by `params.max_tokens` is not terminal."""
    yield from expand(tree, [ROOT], samples, params, ends=("eos", "stop"))


def best_of_n(tree: Tree, *, samples: int, params: SamplingParams) -> Steps[None]:
    """Draw independent whole attempts and score those that came to an end."""
    yield from sample(tree, samples=samples, params=params)
    yield from evaluate(tree, [leaf for leaf in tree.leaves() if tree.nodes[leaf].terminal])
