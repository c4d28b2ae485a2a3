"""The dials of searches as options of a command, each with what it says of itself.

A search takes those that it has; docs/search.md has the table.
"""

import math
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter
from cyclopts.validators import Number

from system2.cli.options import Count, NonNegative, Share

Whole: TypeAlias = Annotated[int, Parameter(validator=Number(gte=0))]
Positive: TypeAlias = Annotated[float, Parameter(validator=Number(gt=0, lt=math.inf))]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Dials:
    """What a user may say to a search; None: not said, so the search's default holds."""

    samples: Annotated[
        Count | None,
        Parameter(
            help="Attempts a problem: of sample, majority, best_of_n and weighted_majority "
            "(default: 1), at most of adaptive_consistency (40), revision and meta (8)."
        ),
    ] = None
    width: Annotated[
        Count | None,
        Parameter(
            help="Prefixes gone on from at a time: of beam and lookahead, subtrees of "
            "diverse_beam, particles (default: 4)."
        ),
    ] = None
    branch: Annotated[
        Count | None,
        Parameter(help="Next steps drawn of a prefix, by all step searches but particle (4)."),
    ] = None
    max_depth: Annotated[
        Count | None, Parameter(help="The most steps of an attempt, of step searches (16).")
    ] = None
    iterations: Annotated[
        Count | None,
        Parameter(help="Prefixes that best_first, astar and dfs expand, visits of mcts (32)."),
    ] = None
    accept: Annotated[
        Share | None,
        Parameter(
            help="A finished attempt of such a value ends a search that asks a verifier "
            "(default: none does)."
        ),
    ] = None
    formula: Annotated[
        Literal["uct", "puct"] | None, Parameter(help="How mcts chooses a child (uct).")
    ] = None
    exploration: Annotated[
        NonNegative | None,
        Parameter(help="How much mcts explores (sqrt 2 by uct, 1.25 by puct)."),
    ] = None
    rollouts: Annotated[
        Whole | None,
        Parameter(help="Attempts by which mcts values a node; 0 asks the verifier (0)."),
    ] = None
    prune: Annotated[
        Share | None, Parameter(help="The value below which dfs gives a prefix up (0.05).")
    ] = None
    weight: Annotated[
        NonNegative | None,
        Parameter(help="How much the verifier's -log value counts in astar (1)."),
    ] = None
    resample_temperature: Annotated[
        Positive | None,
        Parameter(help="How evenly particles survive: near 0 the best takes all (1)."),
    ] = None
    lookahead: Annotated[
        Whole | None,
        Parameter(help="Greedy steps after which lookahead judges a candidate (1)."),
    ] = None
    window: Annotated[
        Count | None, Parameter(help="Earlier attempts that revision shows to the next (4).")
    ] = None

    @property
    def given(self) -> dict[str, Any]:
        """What was said, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}
