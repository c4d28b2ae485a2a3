"""Lookahead search: a beam whose candidates are judged by where they lead.

Source: Snell et al. (arXiv 2408.03314) section 5.1: each candidate of a beam search is gone on
from greedily for some steps, or to the attempt's end, and the verifier's value of what comes of it
is the candidate's. We differ: what looking ahead came upon stays in the tree, so an attempt that it
finished can be chosen; nobody looks further than `max_depth` steps from the prompt.
"""

from collections.abc import Sequence
from dataclasses import replace

from system2.core import SamplingParams, Steps, UserError
from system2.search.moves import check_dials, evaluate, grow, is_solved, value_of
from system2.tree import ROOT, Tree


def lookahead(
    tree: Tree,
    *,
    width: int,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    lookahead: int = 1,
    accept: float | None = None,
) -> Steps[None]:
    """Go on, step by step, from the `width` prefixes that lead to the best.

    `params` are those of one step, of which an attempt has at most `max_depth`; `lookahead` is
    how many greedy steps a candidate is gone on from before it is judged (0: `beam`). Ties go
    to what was found first. A finished attempt of a value >= `accept` ends the search.
    Raises: `UserError` on a dial out of its range.
    """
    check_dials("lookahead", accept, width=width, branch=branch, max_depth=max_depth)
    if lookahead < 0:
        raise UserError(f"lookahead: lookahead is {lookahead}; it must be >= 0 (0: beam search)")
    return _lookahead(tree, width, branch, max_depth, params, lookahead, accept)


def _lookahead(
    tree: Tree,
    width: int,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    lookahead: int,
    accept: float | None,
) -> Steps[None]:
    frontier = [ROOT]
    for depth in range(1, max_depth + 1):
        since = len(tree.nodes)
        children, counted = yield from grow(tree, frontier, branch, params)
        greedy = replace(params, temperature=0.0)
        ends = yield from _ends(tree, counted, min(lookahead, max_depth - depth), greedy)
        yield from evaluate(tree, [ends.get(child, child) for child in children])
        for child, end in ends.items():
            tree.set_value(child, value_of(tree, end))
        if is_solved(tree, since, accept):
            return
        best = sorted(counted, key=lambda node: value_of(tree, node), reverse=True)[:width]
        frontier = [node for node in best if not tree.nodes[node].terminal]
        if not frontier:
            return


def _ends(
    tree: Tree, candidates: Sequence[int], num_steps: int, params: SamplingParams
) -> Steps[dict[int, int]]:
    """Go on from candidates for so many steps; return where each came to."""
    ends = {candidate: candidate for candidate in candidates}
    goes_on = [candidate for candidate in candidates if not tree.nodes[candidate].terminal]
    for _ in range(num_steps):
        _, steps = yield from grow(tree, [ends[candidate] for candidate in goes_on], 1, params)
        step_of = {tree.nodes[step].parent: step for step in steps}
        goes_on = [candidate for candidate in goes_on if ends[candidate] in step_of]
        ends |= {candidate: step_of[ends[candidate]] for candidate in goes_on}
        goes_on = [candidate for candidate in goes_on if not tree.nodes[ends[candidate]].terminal]
    return ends
