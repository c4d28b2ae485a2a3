"""Searches: pure generators of requests that append to a tree (see `system2.core.Steps`)."""

from collections.abc import Callable

from system2.core import Steps
from system2.search import (
    adaptive,
    astar,
    beam,
    best_first,
    dfs,
    diverse_beam,
    lookahead,
    mcts,
    meta,
    parallel,
    particle,
    revision,
)

SEARCHES: dict[str, Callable[..., Steps[None]]] = {
    "greedy": parallel.greedy,
    "sample": parallel.sample,
    "majority": parallel.majority,
    "adaptive_consistency": adaptive.adaptive_consistency,
    "best_of_n": parallel.best_of_n,
    "weighted_majority": parallel.weighted_majority,
    "revision": revision.revision,
    "meta": meta.meta,
    "beam": beam.beam,
    "diverse_beam": diverse_beam.diverse_beam,
    "lookahead": lookahead.lookahead,
    "best_first": best_first.best_first,
    "astar": astar.astar,
    "dfs": dfs.dfs,
    "mcts": mcts.mcts,
    "particle": particle.particle,
}
"""Every search by name; each takes the tree and, by keyword, its own dials.

Those that read text take a function for it, by one of three names: `answer_of`, `context`, `cut`.
"""
SCORED_SEARCHES = (
    "best_of_n", "weighted_majority", "revision", "meta", "beam", "diverse_beam", "lookahead",
    "best_first", "astar", "dfs", "mcts", "particle",
)  # fmt: skip
"""Those of them that ask a verifier for values."""
STEP_SEARCHES = (
    "beam", "diverse_beam", "lookahead", "best_first", "astar", "dfs", "mcts", "particle",
)  # fmt: skip
"""Those of them whose `params` are those of one step, not of a whole attempt."""
