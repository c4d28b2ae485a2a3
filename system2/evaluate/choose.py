"""Choose a token verifier's alpha and beta on validation problems, never on the test split.

Place in the flow: a trained verifier's folder and validation problems -> attempts under every
setting (`compare`) -> `verify.folders.write_settings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from system2.core import Problem, UserError
from system2.evaluate.compare import Method, attempt_all, result_rows


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
