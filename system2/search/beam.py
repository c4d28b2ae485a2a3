"""Beam search over reasoning steps, guided by the values of prefixes.

Source: Meta-CoT (arXiv 2501.04682) section 5.2, which takes it from Snell et al. (arXiv
2408.03314): keep the `width` best prefixes, draw `branch` next steps of each, judge, keep the
best again. We differ: a step that several draws agree on takes one place in the beam; a finished
attempt gives its place up with the next step, and stays in the tree for selection.
"""

from system2.core import SamplingParams, Steps
from system2.search.moves import check_dials, evaluate, grow, is_solved, value_of
from system2.tree import ROOT, Tree


def beam(
    tree: Tree,
    *,
    width: int,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    accept: float | None = None,
) -> Steps[None]:
    """Go on, step by step, from the `width` best of all prefixes that the last step made.

    `params` are those of one step, of which an attempt has at most `max_depth`. Ties go to
    what was found first. A finished attempt of a value >= `accept` ends the search.
    Raises: `UserError` on a dial out of its range.
    """
    check_dials("beam", accept, width=width, branch=branch, max_depth=max_depth)
    return _beam(tree, width, branch, max_depth, params, accept)


def _beam(
    tree: Tree,
    width: int,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    accept: float | None,
) -> Steps[None]:
    frontier = [ROOT]
    for _ in range(max_depth):
        since = len(tree.nodes)
        children, counted = yield from grow(tree, frontier, branch, params)
        yield from evaluate(tree, children)
        if is_solved(tree, since, accept):
            return
        best = sorted(counted, key=lambda node: value_of(tree, node), reverse=True)[:width]
        frontier = [node for node in best if not tree.nodes[node].terminal]
        if not frontier:
            return
