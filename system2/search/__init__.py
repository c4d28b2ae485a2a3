"""Searches: pure generators of requests that append to a tree (see `system2.core.Steps`)."""

from collections.abc import Callable

from system2.core import Steps
from system2.search import parallel

SEARCHES: dict[str, Callable[..., Steps[None]]] = {
    "greedy": parallel.greedy,
    "sample": parallel.sample,
    "best_of_n": parallel.best_of_n,
}
"""Every search by name; each takes the tree and, by keyword, its own dials."""
SCORED_SEARCHES = ("best_of_n",)
"""Those of them that ask a verifier for the value of an attempt."""
