"""How a search moved through its tree: what it went on from, and how often it went back.

Place in the flow: rows of a trees file -> `moves_of` -> figures of a comparison of searches.
Meta-CoT (arXiv 2501.04682) section 4.4 and appendix D speak of backtracks by looking at traces;
here they are counted off the order of discovery.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any


@dataclass(frozen=True, slots=True)
class Moves:
    """What a search did in a tree.

    `nodes` counts all but the prompt. An expansion is the children of one parent that were found
    one after the other; a `backtrack` is an expansion of a node that is not among the children
    that the expansion before it found. `repeats` counts nodes that add to their parent what an
    earlier child of it added. `is_solved` says whether a finished attempt is right.
    """

    nodes: int
    expansions: int
    backtracks: int
    repeats: int
    is_solved: bool


def moves_of(nodes: Sequence[Mapping[str, Any]]) -> Moves:
    """Return the moves of a search from the nodes of a tree's row, the prompt first.

    >>> def node(parent, text, grade=None):
    ...     return {"parent": parent, "tokens": [text], "terminal": bool(grade), "grade": grade}
    >>> tree = [node(None, 0), node(0, 1), node(0, 2), node(2, 3), node(2, 3), node(1, 4, True)]
    >>> moves_of(tree)
    Moves(nodes=5, expansions=3, backtracks=1, repeats=1, is_solved=True)
    """
    found = list(enumerate(nodes))[1:]
    expansions = [
        (parent, {index for index, _ in children})
        for parent, children in groupby(found, lambda pair: pair[1]["parent"])
    ]
    backtracks = sum(parent not in before for (_, before), (parent, _) in pairwise(expansions))
    distinct = {(node["parent"], tuple(node["tokens"])) for _, node in found}
    return Moves(
        nodes=len(found),
        expansions=len(expansions),
        backtracks=backtracks,
        repeats=len(found) - len(distinct),
        is_solved=any(node["terminal"] and node.get("grade") is True for _, node in found),
    )
