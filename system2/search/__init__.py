"""Searches: pure generators of requests that append to a tree (see `system2.core.Steps`)."""

from collections.abc import Callable

from system2.core import Steps
from system2.search import beam, best_first, mcts, parallel

SEARCHES: dict[str, Callable[..., Steps[None]]] = {
    "greedy": parallel.greedy,
    "sample": parallel.sample,
    "best_of_n": parallel.best_of_n,
    "beam": beam.beam,
    "best_first": best_first.best_first,
    "mcts": mcts.mcts,
}
"""Every search by name; each takes the tree and, by keyword, its own dials."""
SCORED_SEARCHES = ("best_of_n", "beam", "best_first", "mcts")
"""Those of them that ask a verifier for values."""
STEP_SEARCHES = ("beam", "best_first", "mcts")
"""Those of them whose `params` are those of one step, not of a whole attempt."""
