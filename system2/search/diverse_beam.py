"""Diverse beam search (DVTS): independent subtrees, each grown by its best step alone.

Source: Beeching, Tunstall and Rush, "Scaling test-time compute with open models" (2024, Hugging
Face): a beam of N prefixes is split into independent subtrees of width 1, so that one prefix of
a high value cannot crowd out all others. We differ: no two subtrees go on from the same first
step, where there they may; a step that several draws of a subtree agree on counts once.
"""

from system2.core import SamplingParams, Steps
from system2.search.moves import check_dials, evaluate, grow, is_solved, value_of
from system2.tree import ROOT, Tree


def diverse_beam(
    tree: Tree,
    *,
    width: int,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    accept: float | None = None,
) -> Steps[None]:
    """Grow `width` subtrees, each step by step from the best of `branch` next steps.

    `params` are those of one step, of which an attempt has at most `max_depth`. A subtree ends
    with its best step's attempt. Ties go to what was found first. A finished attempt of a value
    >= `accept` ends the search.
    Raises: `UserError` on a dial out of its range.
    """
    check_dials("diverse_beam", accept, width=width, branch=branch, max_depth=max_depth)
    return _diverse_beam(tree, width, branch, max_depth, params, accept)


def _diverse_beam(
    tree: Tree,
    width: int,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    accept: float | None,
) -> Steps[None]:
    frontier = [ROOT] * width
    for _ in range(max_depth):
        since = len(tree.nodes)
        children, counted = yield from grow(tree, frontier, branch, params)
        yield from evaluate(tree, children)
        if is_solved(tree, since, accept):
            return
        # Children come subtree by subtree: all subtrees share a parent only at the root, where
        # a step that two of them drew is the first one's.
        steps = set(counted)
        best = [
            max(own, key=lambda node: value_of(tree, node))
            for i in range(len(frontier))
            if (own := [at for at in children[i * branch : (i + 1) * branch] if at in steps])
        ]
        frontier = [node for node in best if not tree.nodes[node].terminal]
        if not frontier:
            return
