"""Depth-first search with pruning by value.

Source: Tree of Thoughts (Yao et al., arXiv 2305.10601) algorithm 2, and TS-LLM's DFS-V (arXiv
2309.17179): go on from the best next step; prefixes judged hopeless are given up, and the search
backtracks to the next best. We differ: a step that several draws agree on is one child; the search
goes on after a finished attempt unless its value is accepted.
"""

from system2.core import SamplingParams, Steps
from system2.search.moves import check_dials, check_share, evaluate, grow, is_solved, value_of
from system2.tree import ROOT, Tree


def dfs(
    tree: Tree,
    *,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    prune: float = 0.0,
    iterations: int | None = None,
    accept: float | None = None,
) -> Steps[None]:
    """Go on from the best next step; where none is left, backtrack.

    `params` are those of one step, of which an attempt has at most `max_depth`. A prefix of a
    value below `prune`, in [0, 1], is never gone on from; `iterations` limits the expansions
    (None: until nothing is left). Ties go to what was found first. A finished attempt of a
    value >= `accept` ends the search.
    Raises: `UserError` on a dial out of its range.
    """
    dials = {"branch": branch, "max_depth": max_depth, "iterations": iterations}
    check_dials("dfs", accept, **dials)
    check_share("dfs", "prune", prune)
    return _dfs(tree, branch, max_depth, params, prune, iterations, accept)


def _dfs(
    tree: Tree,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    prune: float,
    iterations: int | None,
    accept: float | None,
) -> Steps[None]:
    stack = [ROOT]
    expanded = 0
    while stack and (iterations is None or expanded < iterations):
        node = stack.pop()
        since = len(tree.nodes)
        children, counted = yield from grow(tree, [node], branch, params)
        expanded += 1
        yield from evaluate(tree, children)
        if is_solved(tree, since, accept):
            return
        open_ = [
            child
            for child in counted
            if not tree.nodes[child].terminal
            and tree.nodes[child].depth < max_depth
            and value_of(tree, child) >= prune
        ]
        # The best comes last, to be popped first; sorted keeps the oldest of equals first.
        stack += sorted(open_, key=lambda child: value_of(tree, child), reverse=True)[::-1]
