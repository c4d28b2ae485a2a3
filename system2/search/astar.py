"""A* over reasoning steps: the cost of a prefix, and a verifier's guess of what is to come.

Source: Hart, Nilsson and Raphael (1968), over the steps that Meta-CoT (arXiv 2501.04682) page 22
searches without a path cost. The convention here: a step costs -log of the probability with which
the policy drew it, so g is the sum of -logprobs (nats) from the root; h is -log of the verifier's
value; f = g + weight * h, and the least is expanded. At weight 1 that is the prefix of the greatest
"the policy writes this, and it ends right". A finished attempt keeps its h: its value is still a
guess, and the one whose turn comes first ends the search. Such an h may overestimate, so nothing
says that no better attempt is left.
"""

import math
from heapq import heappop, heappush

from system2.core import SamplingParams, Steps, UserError
from system2.search.moves import check_dials, evaluate, grow, is_solved, value_of
from system2.tree import ROOT, Tree


def astar(
    tree: Tree,
    *,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    weight: float = 1.0,
    iterations: int | None = None,
    accept: float | None = None,
) -> Steps[None]:
    """Expand, again and again, the prefix of the least path cost plus `weight` times heuristic.

    `params` are those of one step, of which an attempt has at most `max_depth`; `weight` 0 goes
    by cost alone, a great one by value alone; `iterations` limits the expansions (None: until
    nothing is left). Ties go to what was found first. The search ends when the turn of a
    finished attempt comes; with `accept`, as soon as one of a value >= `accept` is found, and
    by no other.
    Raises: `UserError` on a dial out of its range.
    """
    dials = {"branch": branch, "max_depth": max_depth, "iterations": iterations}
    check_dials("astar", accept, **dials)
    if not 0 <= weight < math.inf:
        raise UserError(f"astar: weight is {weight}; it must be finite and >= 0")
    return _astar(tree, branch, max_depth, params, weight, iterations, accept)


def total_cost(cost: float, value: float, weight: float) -> float:
    """Return f = g + weight * h, with h = -log of a value in [0, 1] (0: h is infinite).

    >>> total_cost(1.5, 1.0, weight=2.0), total_cost(1.5, 0.0, weight=2.0)
    (1.5, inf)
    """
    if not weight:
        return cost
    return cost - weight * math.log(value) if value else math.inf


def _astar(
    tree: Tree,
    branch: int,
    max_depth: int,
    params: SamplingParams,
    weight: float,
    iterations: int | None,
    accept: float | None,
) -> Steps[None]:
    costs = {ROOT: 0.0}
    heap = [(0.0, ROOT)]  # the root is popped first whatever its value is: it is not asked for
    expanded = 0
    while heap and (iterations is None or expanded < iterations):
        _, node = heappop(heap)
        if tree.nodes[node].terminal:
            if accept is None:
                return
            continue
        since = len(tree.nodes)
        children, counted = yield from grow(tree, [node], branch, params)
        expanded += 1
        yield from evaluate(tree, children)
        if is_solved(tree, since, accept):
            return
        for child in counted:
            costs[child] = costs[node] - math.fsum(tree.nodes[child].logprobs)
            if tree.nodes[child].terminal or tree.nodes[child].depth < max_depth:
                f = total_cost(costs[child], value_of(tree, child), weight)
                heappush(heap, (f, child))
