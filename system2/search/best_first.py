"""Best-first search over reasoning steps: what the Meta-CoT paper calls A*.

Source: Meta-CoT (arXiv 2501.04682) page 22, after Koh et al. (arXiv 2407.01476): a max-heap
of prefixes by value; the best is popped, `branch` next steps are drawn from it and judged, and
those short of the depth limit are pushed. There is no path cost, so it is greedy best-first
search. We differ: the root's value is never asked for, since it is popped first whatever it is;
and the search ends by a verifier's value (`accept`), a number of expansions or the budget, where
the paper asks the ground truth.
"""

from heapq import heappop, heappush

from system2.core import SamplingParams, Steps
from system2.search.moves import check_dials, evaluate, grow, is_solved, value_of
from system2.tree import ROOT, Tree


def best_first(
    tree: Tree,
    *,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    iterations: int | None = None,
    accept: float | None = None,
) -> Steps[None]:
    """Expand, again and again, the best prefix found so far that was not expanded.

    `params` are those of one step, of which an attempt has at most `max_depth`; `iterations`
    limits the expansions (None: until nothing is left). Ties go to what was found first. A
    finished attempt of a value >= `accept` ends the search.
    Raises: `UserError` on a dial out of its range.
    """
    dials = {"branch": branch, "max_depth": max_depth, "iterations": iterations}
    check_dials("best_first", accept, **dials)
    return _best_first(tree, branch, max_depth, params, iterations, accept)


def _best_first(
    tree: Tree,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    iterations: int | None,
    accept: float | None,
) -> Steps[None]:
    heap = [(0.0, ROOT)]  # the least is popped: values are negated, then the oldest comes first
    expanded = 0
    while heap and (iterations is None or expanded < iterations):
        _, node = heappop(heap)
        since = len(tree.nodes)
        children, counted = yield from grow(tree, [node], branch, params)
        expanded += 1
        yield from evaluate(tree, children)
        if is_solved(tree, since, accept):
            return
        for child in counted:
            if not tree.nodes[child].terminal and tree.nodes[child].depth < max_depth:
                heappush(heap, (-value_of(tree, child), child))
