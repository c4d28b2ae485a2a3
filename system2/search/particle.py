"""Particle filtering over reasoning steps: prefixes live and die in proportion to their odds.

Source: Puri et al. (arXiv 2502.01618): particles draw a step each, are weighted by the softmax of
the log-odds of their values, and are drawn anew by these weights; so a prefix of a low value keeps
a chance, where a beam drops it. We differ: resampling is systematic (Kitagawa 1996), which copies
a particle as often as its weight says, up to rounding, where independent draws may lose a good one
by chance; finished particles stay as they are and take no part in it.
"""

import math
from collections.abc import Sequence

from system2.core import SamplingParams, Steps, UserError, derive_seed
from system2.search.moves import check_dials, draw, evaluate, is_solved, is_step, value_of
from system2.tree import ROOT, Tree

SMALLEST = 1e-6
"""Values are taken to be at least this far from 0 and 1, where the log-odds are infinite."""


def particle(
    tree: Tree,
    *,
    width: int,
    max_depth: int,
    params: SamplingParams,
    resample_temperature: float = 1.0,
    accept: float | None = None,
) -> Steps[None]:
    """Draw a step of each of `width` particles, and resample those that are not finished.

    `params` are those of one step, of which an attempt has at most `max_depth`. Weights are
    `softmax(log-odds / resample_temperature)`: near 0 the best takes all, at a great one all
    stay. Random: the resampling, by the tree's seed. A finished attempt of a value >= `accept`
    ends the search.
    Raises: `UserError` on a dial out of its range.
    """
    check_dials("particle", accept, width=width, max_depth=max_depth)
    if not 0 < resample_temperature < math.inf:
        raise UserError(
            f"particle: resample_temperature is {resample_temperature}; "
            "it must be finite and above 0"
        )
    return _particle(tree, width, max_depth, params, resample_temperature, accept)


def _particle(
    tree: Tree,
    width: int,
    max_depth: int,
    params: SamplingParams,
    resample_temperature: float,
    accept: float | None,
) -> Steps[None]:
    particles = [ROOT] * width
    for _ in range(max_depth):
        since = len(tree.nodes)
        drawn = yield from draw(tree, particles, 1, params)
        yield from evaluate(tree, [node for node, _ in drawn])
        if is_solved(tree, since, accept):
            return
        width -= sum(tree.nodes[node].terminal for node, _ in drawn)
        live = [
            node
            for node, completion in drawn
            if not tree.nodes[node].terminal and is_step(completion, params)
        ]
        if not live or not width:
            return
        weights = resampling_weights([value_of(tree, at) for at in live], resample_temperature)
        start = derive_seed("resample", tree.seed, len(tree.nodes)) / 2**63
        particles = [live[i] for i in resample(weights, width, start)]


def resampling_weights(values: Sequence[float], temperature: float) -> list[float]:
    """Return the softmax of the log-odds of values in [0, 1]; it sums to 1.

    >>> [round(weight, 3) for weight in resampling_weights([0.5, 0.75], 1.0)]
    [0.25, 0.75]
    """
    inside = [min(1 - SMALLEST, max(SMALLEST, value)) for value in values]
    odds = [math.log(value / (1 - value)) / temperature for value in inside]
    powers = [math.exp(odd - max(odds)) for odd in odds]
    total = math.fsum(powers)
    return [power / total for power in powers]


def resample(weights: Sequence[float], count: int, start: float) -> list[int]:
    """Return `count` indices, i about `count * weights[i]` times: never off by 1 or more.

    `start`, uniform in [0, 1), decides what is rounded up.

    >>> resample([0.5, 0.25, 0.25], 4, start=0.3)
    [0, 0, 1, 2]
    """
    chosen: list[int] = []
    index, reached = 0, weights[0]
    for place in range(count):
        wanted = (place + start) / count
        while reached <= wanted and index < len(weights) - 1:
            index += 1
            reached += weights[index]
        chosen.append(index)
    return chosen
