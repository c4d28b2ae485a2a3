"""The options that several commands have, with what they say of themselves.

An option that one command explains in its own words stays in that command's docstring.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter
from cyclopts.validators import Number

from system2.core import Split, UserError

Count: TypeAlias = Annotated[int, Parameter(validator=Number(gte=1))]
Share: TypeAlias = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
NonNegative: TypeAlias = Annotated[float, Parameter(validator=Number(gte=0, lt=math.inf))]

Json: TypeAlias = Annotated[
    bool, Parameter("--json", negative=(), help="Print the result as one JSON object.")
]
PartOf: TypeAlias = Annotated[Split, Parameter(help="The part of the task's problems.")]
NumProblems: TypeAlias = Annotated[
    Count | None, Parameter(help="How many problems (default: 100 of a task, all of a file).")
]
Plausible: TypeAlias = Annotated[
    Share | None,
    Parameter(
        help="The plausible set: tokens with p >= alpha * max p. "
        "Without a verifier it alone guides."
    ),
]
Weight: TypeAlias = Annotated[
    NonNegative | None,
    Parameter(help="The weight of a token verifier's scores (default: the one chosen for it)."),
]
Gate: TypeAlias = Annotated[
    Share,
    Parameter(
        help="A token verifier is not asked where the policy's best token is as probable as this."
    ),
]
Adapted: TypeAlias = Annotated[
    int,
    Parameter(
        validator=Number(gte=0),
        help="How many of the policy's top layers get trained copies (a separate one copies all).",
    ),
]
MicroBatches: TypeAlias = Annotated[Count, Parameter(help="Micro-batches an optimiser step.")]
MicroTokens: TypeAlias = Annotated[
    Count, Parameter(help="Padded tokens a micro-batch: lower it if memory runs out.")
]
Epochs: TypeAlias = Annotated[float, Parameter(help="Passes over the data.")]
Rate: TypeAlias = Annotated[
    float,
    Parameter(
        "--learning-rate",
        help="Its peak; 10% warm-up, then a cosine to zero. Some 1e-3 is for a policy of a "
        "million weights, 1e-5 for one of billions.",
    ),
]
DataOrder: TypeAlias = Annotated[int, Parameter("--seed", help="The order of the data.")]
Second: TypeAlias = Annotated[
    Literal["shared", "separate"],
    Parameter(help="shared (a head on the policy's trunk) or separate (a full second model)."),
]
Verifiers: TypeAlias = Annotated[tuple[str, ...], Parameter("--verifier", negative=())]
"""The names of verifiers; each command says what they do in it."""
Judge: TypeAlias = Annotated[
    Literal["product", "min", "mean", "last"],
    Parameter(
        help="How the values of several verifiers make one. last: the one named last judges "
        "finished attempts, the mean of those before it all that is unfinished."
    ),
]


def check_scored(verifier: Sequence[str], beta: float | None, gate: float) -> None:
    """Refuse what weighs a token verifier's scores where none is named. Raises: `UserError`."""
    given = "--beta" if beta is not None else "--gate" if gate < 1 else None
    if not verifier and given:
        raise UserError(f"{given} is for a token verifier's scores; name one by --verifier")
