"""Value targets out of search trees: TD(lambda) from the leaves to the root.

Place in the flow: the nodes of a tree, their grades and a verifier's values -> what each node's
value should be -> `train.values`. Source: Sutton and Barto's lambda-return (Reinforcement
Learning, 2018, chapter 12), over states that are prefixes, with no reward but the grade at the
end and no discount (Meta-CoT, arXiv 2501.04682, sections 2.2 and 8.3.2, which asks for value
functions from search data and gives no formula). We differ: a tree branches, so a node's
target is the mean of what its children are worth, or another expectile of it (IQL's implicit
maximum, arXiv 2110.06169, taken over the children that are there).
"""

import math
from collections.abc import Sequence

from system2.core import UserError


def expectile(values: Sequence[float], weights: Sequence[float], tau: float) -> float:
    """Return the number m at which sum of w |tau - 1(v < m)| (v - m) is zero.

    `tau` 0.5 is the weighted mean, 1 the maximum, 0 the minimum; in between it rises with tau.
    Raises: `ValueError` where there is no value or a weight is not above 0.

    >>> expectile([0.0, 1.0], [1.0, 1.0], 0.9)
    0.9
    """
    if not values or len(values) != len(weights) or min(weights) <= 0:
        raise ValueError(f"{len(values)} values with weights {list(weights)}: no expectile")
    lowest, highest = min(values), max(values)
    if tau >= 1 or lowest == highest:
        return highest
    if tau <= 0:
        return lowest
    if tau == 0.5:
        return math.fsum(w * v for v, w in zip(values, weights, strict=True)) / math.fsum(weights)
    pairs = sorted(zip(values, weights, strict=True))
    below, above = (0.0, 0.0), (sum(w * v for v, w in pairs), sum(w for _, w in pairs))
    found = highest
    # The zero lies right of the values that are below it: try each cut, from the lowest.
    for i, (value, weight) in enumerate(pairs):
        below = below[0] + weight * value, below[1] + weight
        above = above[0] - weight * value, above[1] - weight
        share = (1 - tau) * below[1] + tau * above[1]
        found = ((1 - tau) * below[0] + tau * above[0]) / share
        if i + 1 == len(pairs) or found <= pairs[i + 1][0]:
            break
    return min(highest, max(lowest, found))


def td_targets(
    parents: Sequence[int | None],
    rewards: Sequence[float | None],
    values: Sequence[float | None],
    *,
    lam: float,
    tau: float = 0.5,
    weights: Sequence[float] | None = None,
) -> list[float | None]:
    """Return what the value of each node should be; None where nothing tells.

    Node i hangs on `parents[i]`, which comes before it (None: a root). `rewards[i]` is the
    final reward of an attempt that ends there, None elsewhere: it is that node's target, and
    what it is worth. Any other node's target is the expectile `tau` (0.5: the mean, 1: the
    maximum) of what its children are worth, each weighing `weights` (how often it was drawn;
    None: once). To its parent a node is worth (1 - lam) value + lam target: `lam` 1 is Monte
    Carlo, which reads no value, and 0 bootstraps from the children's values alone. A node
    that has only one of the two is worth that one, but at `lam` 1 a leaf without a reward is
    left out; so is, at any `lam`, one with neither.
    Raises: `UserError` where `lam` or `tau` lies outside [0, 1]; `ValueError` where a parent
    does not come before its child, or the lists differ in length.

    >>> td_targets([None, 0, 0], [None, 1.0, 0.0], [None, 0.5, 0.5], lam=1.0)
    [0.5, 1.0, 0.0]
    """
    return _backed_up(parents, rewards, values, lam, tau, weights)[0]


def td_returns(
    parents: Sequence[int | None],
    rewards: Sequence[float | None],
    values: Sequence[float | None],
    *,
    lam: float,
    tau: float = 0.5,
    weights: Sequence[float] | None = None,
) -> list[float | None]:
    """Return what each node is worth to its parent; arguments and errors as in `td_targets`."""
    return _backed_up(parents, rewards, values, lam, tau, weights)[1]


def _backed_up(
    parents: Sequence[int | None],
    rewards: Sequence[float | None],
    values: Sequence[float | None],
    lam: float,
    tau: float,
    weights: Sequence[float] | None,
) -> tuple[list[float | None], list[float | None]]:
    """Return each node's target, and what it is worth to its parent."""
    for name, dial in (("lambda", lam), ("expectile", tau)):
        if not 0 <= dial <= 1:
            raise UserError(f"{name} is {dial}; it must lie in [0, 1]")
    counts = [1.0] * len(parents) if weights is None else weights
    if not len(parents) == len(rewards) == len(values) == len(counts):
        raise ValueError("parents, rewards, values and weights differ in length")
    targets: list[float | None] = list(rewards)
    returns: list[float | None] = [None] * len(parents)
    under: list[list[int]] = [[] for _ in parents]
    for i in reversed(range(len(parents))):
        if targets[i] is None and under[i]:
            worth = [(v, counts[c]) for c in under[i] if (v := returns[c]) is not None]
            if worth:
                targets[i] = expectile([v for v, _ in worth], [w for _, w in worth], tau)
        is_final = rewards[i] is not None
        returns[i] = rewards[i] if is_final else _worth(values[i], targets[i], lam)
        parent = parents[i]
        if parent is not None:
            if not 0 <= parent < i:
                raise ValueError(f"node {i} hangs on {parent}, which does not come before it")
            under[parent].append(i)
    return targets, returns


def _worth(value: float | None, target: float | None, lam: float) -> float | None:
    """Return the blend of a node's own value and its target, None where neither is known."""
    if lam == 1 or value is None:
        return target
    return value if target is None else (1 - lam) * value + lam * target
