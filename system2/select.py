"""Choose one attempt out of a finished search.

Each rule returns a terminal leaf (None where no leaf qualifies), so that its text can be graded
and its answer shown. `answer_of(leaf)` is the answer in normal form, None where the leaf states
none. The choice depends on what the leaves hold, never on the order of their discovery.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable

from system2.core import Tokens, derive_seed
from system2.tree import Tree

Selection = Callable[[Tree, Callable[[int], str | None]], int | None]


def best(tree: Tree, answer_of: Callable[[int], str | None]) -> int | None:
    """Return the leaf of the highest value among those that state an answer.

    Leaves without a value come after all others. Ties go to the likelier completion (sum of
    logprobs), then to the smaller token ids.
    """
    return _top(tree, (leaf for group in _groups(tree, answer_of).values() for leaf in group))


def majority(tree: Tree, answer_of: Callable[[int], str | None]) -> int | None:
    """Return the `best` leaf of the most frequent answer.

    Ties between answers fall by a hash of the tree's seed and the answer: as good as chance,
    and the same on every run.
    """
    votes = {
        answer: (float(len(group)), group) for answer, group in _groups(tree, answer_of).items()
    }
    return _elected(tree, votes)


def weighted_majority(tree: Tree, answer_of: Callable[[int], str | None]) -> int | None:
    """Return the `best` leaf of the answer whose leaves have the greatest sum of values.

    A leaf without a value has no vote. Ties fall as in `majority`.
    """
    votes: dict[str, tuple[float, list[int]]] = {}
    for answer, group in _groups(tree, answer_of).items():
        values = [v for leaf in group if (v := tree.nodes[leaf].value) is not None]
        if values:
            votes[answer] = (math.fsum(values), group)
    return _elected(tree, votes)


SELECTIONS: dict[str, Selection] = {
    "best": best,
    "majority": majority,
    "weighted_majority": weighted_majority,
}


def _groups(tree: Tree, answer_of: Callable[[int], str | None]) -> dict[str, list[int]]:
    """Return the terminal leaves by the answer they state."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for leaf in tree.leaves():
        if tree.nodes[leaf].terminal and (answer := answer_of(leaf)) is not None:
            groups[answer].append(leaf)
    return groups


def _elected(tree: Tree, votes: dict[str, tuple[float, list[int]]]) -> int | None:
    if not votes:
        return None
    winner = max(votes, key=lambda answer: (votes[answer][0], derive_seed(tree.seed, answer)))
    return _top(tree, votes[winner][1])


def _top(tree: Tree, leaves: Iterable[int]) -> int | None:
    # Sums are exactly rounded (fsum), so that neither order nor the cut into nodes matters.
    def rank(leaf: int) -> tuple[float, float, Tokens]:
        value = tree.nodes[leaf].value
        logprobs = (logprob for at in tree.path(leaf) for logprob in tree.nodes[at].logprobs)
        smaller_first = tuple(-token for token in tree.completion(leaf))
        return (-1.0 if value is None else value, math.fsum(logprobs), smaller_first)

    return max(leaves, key=rank, default=None)
