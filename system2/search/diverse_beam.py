"""Diverse beam search (DVTS): independent subtrees, each grown by its best step alone.

Source: Beeching, Tunstall and Rush, "Scaling test-time compute with open models" (2024, Hugging
Face): a beam of N prefixes is split into independent subtrees of width 1, so that one prefix of
a high value cannot crowd out all others. We differ: a subtree does not go on from a first step that
an earlier one took, where there two may grow alike; it ends where all that it drew is taken.
"""

from system2.core import SamplingParams, Steps, Tokens
from system2.search.moves import check_dials, draw, evaluate, is_solved, is_step, value_of
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
        drawn = yield from draw(tree, frontier, branch, params)
        yield from evaluate(tree, [node for node, _ in drawn])
        if is_solved(tree, since, accept):
            return
        best: dict[tuple[int | None, Tokens], int] = {}  # by parent and step: each one subtree's
        for i in range(len(frontier)):
            own = [
                node
                for node, completion in drawn[i * branch : (i + 1) * branch]
                if is_step(completion, params) and _key(tree, node) not in best
            ]
            if own:
                node = max(own, key=lambda node: value_of(tree, node))
                best[_key(tree, node)] = node
        frontier = [node for node in best.values() if not tree.nodes[node].terminal]
        if not frontier:
            return


def _key(tree: Tree, node: int) -> tuple[int | None, Tokens]:
    """Return what makes two nodes the same prefix."""
    return tree.nodes[node].parent, tree.nodes[node].tokens
