"""The two moves that every search is made of: grow nodes, and have them judged.

Both are sub-generators (`children = yield from expand(...)`): they yield one request, take its
answer and write it into the tree.
"""

from collections.abc import Collection, Sequence

from system2.core import (
    Completion,
    FinishReason,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    Steps,
    derive_seed,
)
from system2.tree import Tree


def expand(
    tree: Tree,
    parents: Sequence[int],
    branch: int,
    params: SamplingParams,
    *,
    ends: Collection[FinishReason] = ("eos",),
) -> Steps[list[int]]:
    """Draw `branch` completions of each parent and return the new nodes, parent by parent.

    A completion that finished for one of the reasons in `ends` becomes a terminal node. The
    seed follows from the tree's seed and its size, so no two moves of a search draw alike.
    """
    if not parents:
        return []
    request = SampleRequest(
        prefixes=tuple(tree.prefix(parent) for parent in parents),
        n=branch,
        params=params,
        seed=derive_seed("expand", tree.seed, len(tree.nodes)),
    )
    drawn: list[list[Completion]] = yield request
    return [
        tree.add(
            parent,
            completion.tokens,
            completion.logprobs,
            terminal=completion.finish_reason in ends,
        )
        for parent, completions in zip(parents, drawn, strict=True)
        for completion in completions
    ]


def evaluate(tree: Tree, nodes: Sequence[int]) -> Steps[None]:
    """Have a verifier score nodes and write their values into the tree."""
    if not nodes:
        return
    values: list[float] = yield ScoreRequest(
        problem=tree.problem, prefixes=tuple(tree.prefix(node) for node in nodes)
    )
    for node, value in zip(nodes, values, strict=True):
        tree.set_value(node, value)
