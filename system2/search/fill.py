"""Spend a budget to the end: a search that draws whole attempts is repeated on its tree.

Place in the flow: `SolveConfig.fill` wraps the searches of `REPEATED` with it, so that methods
are compared at equal sampled tokens. A search asked at once for more attempts than the budget
holds would have each of them cut short (the driver shares the budget out); in rounds none is,
but the last.
"""

from collections.abc import Callable

from system2.core import Steps
from system2.search.moves import is_solved
from system2.tree import Tree

REPEATED = ("sample", "majority", "best_of_n", "weighted_majority")
"""Searches whose attempts know nothing of each other: two runs on a tree are one larger one."""


def fill(
    tree: Tree,
    draw: Callable[[int], Steps[None]],
    *,
    budget: int,
    max_tokens: int,
    accept: float | None = None,
) -> Steps[None]:
    """Repeat a search until the tree has cost `budget` sampled tokens.

    `draw(n)` is the search that adds n whole attempts of at most `max_tokens` each. A round
    draws as many as are sure to find room, at least one: only the last attempts of a tree, drawn
    one by one, can be cut by the budget. A finished attempt of a value >= `accept` ends it.
    """
    while (left := budget - tree.sampled_tokens) > 0:
        spent, since = tree.sampled_tokens, len(tree.nodes)
        yield from draw(max(1, left // max_tokens))
        if tree.sampled_tokens == spent or is_solved(tree, since, accept):
            return
