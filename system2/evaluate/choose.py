"""Choose a token verifier's alpha, beta and gate on validation problems, never on the test split.

Place in the flow: a trained verifier's folder and validation problems -> attempts under every
setting (`compare`) -> `verify.folders.write_settings`.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from system2.core import Problem, UserError
from system2.evaluate.compare import Method, attempt_all, result_rows, values_by_method


@dataclass(frozen=True, slots=True)
class Choice:
    """The settings chosen, and every setting's accuracies: rows as of `compare.result_rows`."""

    alpha: float
    beta: float
    rows: list[dict[str, Any]]


def choose_settings(
    path: Path,
    verifier: str,
    problems: Sequence[Problem],
    *,
    policy: str = "tiny",
    alphas: Sequence[float] = (0.1,),
    betas: Sequence[float] = (0.25, 0.5, 1.0, 2.0),
    samples: int = 4,
    max_tokens: int = 256,
    processes: int = 1,
) -> Choice:
    """Return the alpha and beta under which validation problems come out best.

    What counts is the sum of the accuracies of greedy decoding, of sampling at T=1, and of
    their majorities; of equals the first, with the smaller beta. Attempts are kept at `path`.
    Raises: `UserError` where there is no setting to choose from.
    """
    settings = {f"{alpha} {beta}": (alpha, beta) for alpha, beta in product(alphas, sorted(betas))}
    if not settings:
        raise UserError("choose_settings needs at least one alpha and one beta")
    methods = [
        Method(name, policy, verifier, alpha, beta) for name, (alpha, beta) in settings.items()
    ]
    attempts = attempt_all(
        path, methods, problems, samples=samples, max_tokens=max_tokens, processes=processes
    )
    rows = result_rows(attempts, {}, seed=0)
    scores = {
        name: sum(row["accuracy"] or 0.0 for row in rows if row["method"] == name)
        for name in settings
    }
    alpha, beta = settings[max(scores, key=scores.__getitem__)]
    return Choice(alpha, beta, rows)


@dataclass(frozen=True, slots=True)
class GateChoice:
    """The gate chosen, and every gate's accuracies: rows as of `compare.result_rows`."""

    gate: float
    rows: list[dict[str, Any]]


def choose_gate(
    path: Path,
    verifier: str,
    problems: Sequence[Problem],
    *,
    policy: str = "tiny",
    gates: Sequence[float] = (0.6, 0.7, 0.75, 0.8, 0.85, 0.9),
    samples: int = 4,
    max_tokens: int = 256,
    processes: int = 1,
) -> GateChoice:
    """Return the lowest gate that costs no accuracy that validation problems could tell.

    From it up to 1 (every choice is verified) the accuracies of greedy decoding and of
    sampling at T=1 stay within one standard error of that at 1, or above. The verifier's own
    alpha and beta hold. Attempts are kept at `path`.
    """
    methods = [Method(str(gate), policy, verifier, gate=gate) for gate in sorted({*gates, 1.0})]
    attempts = attempt_all(
        path, methods, problems, samples=samples, max_tokens=max_tokens, processes=processes
    )
    values = values_by_method(attempts, seed=0)
    chosen = 1.0
    for gate in sorted(gates, reverse=True):
        found = (values[str(gate), how] for how in ("greedy", "sample"))
        every = (values["1.0", how] for how in ("greedy", "sample"))
        if not all(within_one_error(*pair) for pair in zip(found, every, strict=True)):
            break
        chosen = gate
    return GateChoice(chosen, result_rows(attempts, {}, seed=0))


def within_one_error(found: Sequence[float | None], every: Sequence[float | None]) -> bool:
    """Whether a mean lies no further than one standard error (of the other) below another.

    What is not known counts as 0.
    """
    mine, theirs = ([value or 0.0 for value in values] for values in (found, every))
    error = statistics.stdev(theirs) / math.sqrt(len(theirs))
    return statistics.fmean(mine) >= statistics.fmean(theirs) - error
