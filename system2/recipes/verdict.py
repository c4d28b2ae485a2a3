"""What a recipe comes to: a claim, what was measured, and whether it holds.

Place in the flow: `system2 recipe NAME` calls the recipe's `run(out, size, told)`, which returns a
`Verdict`; `out/results.json` and the figure are written from it. What `run` keeps in `out` on
the way lets it go on after a kill.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeAlias

from system2.core import UserError
from system2.evaluate.metrics import Difference, mean_with_interval

Size: TypeAlias = Literal["small", "paper"]
"""small: minutes on two cores, to see the claim's shape; paper: the figures of docs/papers.md."""
Told: TypeAlias = Callable[[str, int, int], None]
"""Is told of progress: the stage, how much is done, of how much."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a claim holds here; `figures` are plain JSON, `figure` an SVG (None: none)."""

    claim: str
    holds: bool
    figures: Mapping[str, Any]
    figure: str | None = None


Recipe: TypeAlias = Callable[[Path, Size, Told], Verdict]


def measured(values_P: Sequence[float | None]) -> dict[str, Any]:
    """Return the mean of the problems' values with its 95% interval, as a row of figures."""
    found = mean_with_interval(values_P)
    row = {"accuracy": found.value, "low": found.low, "high": found.high}
    return {"n": len(values_P), **row, "unjudged": found.num_unjudged}


def interval(found: Difference) -> list[float | None]:
    """Return a difference and the two ends of its interval, as figures have it."""
    return [found.value, found.low, found.high]


RECIPES = {
    "pass_at_k": "more samples of an early checkpoint, or longer training",
    "best_of_n": "the best of N by a learned verifier, the majority, an oracle",
    "verifier_data": "a process verifier's error, and what it is good for, by its data",
    "search_methods": "searches under one verifier at equal tokens, and where they do not pay",
    "mcts_best_first": "what a solved problem costs MCTS and best-first search",
    "meta_critic": "a critic that sees what was tried, and one that does not",
    "hex_compute": "training longer, or searching more at test time, on small Hex",
}
"""Every recipe that comes to a verdict, with what it weighs; `system2/recipes/NAME.py`."""


def find_recipe(name: str) -> Recipe:
    """Return a recipe's `run`. Raises: `UserError` on an unknown name."""
    if name not in RECIPES:
        raise UserError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    found: Recipe = import_module(f"system2.recipes.{name}").run
    return found
