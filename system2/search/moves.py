"""The moves that every search is made of: grow nodes, and have them judged.

They are sub-generators (`children = yield from expand(...)`): they yield one request, take its
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
    Tokens,
    UserError,
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
    drawn = yield from draw(tree, parents, branch, params, ends=ends)
    return [node for node, _ in drawn]


def grow(
    tree: Tree, parents: Sequence[int], branch: int, params: SamplingParams
) -> Steps[tuple[list[int], list[int]]]:
    """Draw one step `branch` times from each parent; return the new nodes, and those that count.

    What is no step (see `is_step`) does not count, for nothing can follow it; a step drawn
    again from the same parent counts once. What does not count stays in the tree: it was paid
    for.
    """
    drawn = yield from draw(tree, parents, branch, params)
    counted: dict[tuple[int | None, Tokens], int] = {}
    for node, completion in drawn:
        if is_step(completion, params):
            _ = counted.setdefault((tree.nodes[node].parent, completion.tokens), node)
    return [node for node, _ in drawn], list(counted.values())


def draw(
    tree: Tree,
    parents: Sequence[int],
    branch: int,
    params: SamplingParams,
    *,
    ends: Collection[FinishReason] = ("eos",),
    prompt: Tokens | None = None,
) -> Steps[list[tuple[int, Completion]]]:
    """Draw completions of each parent; return the new nodes, each with its completion.

    With a `prompt` they are drawn after it, in place of the parents' own prefixes.
    """
    if not parents:
        return []
    request = SampleRequest(
        prefixes=tuple(tree.prefix(at) if prompt is None else prompt for at in parents),
        n=branch,
        params=params,
        seed=derive_seed("expand", tree.seed, len(tree.nodes)),
    )
    drawn: list[list[Completion]] = yield request
    found: list[tuple[int, Completion]] = []
    for parent, completions in zip(parents, drawn, strict=True):
        for completion in completions:
            is_end = completion.finish_reason in ends
            node = tree.add(parent, completion.tokens, completion.logprobs, terminal=is_end)
            found.append((node, completion))
    return found


def is_step(completion: Completion, params: SamplingParams) -> bool:
    """Whether a completion is one whole step.

    A step ends by `params.stop`, by its `max_tokens`, or with the attempt ("eos"); one that
    was cut short of all three found no position left in the model, or no token in the budget.
    """
    num_tokens = len(completion.tokens)
    return num_tokens > 0 and (
        completion.finish_reason != "length" or num_tokens >= params.max_tokens
    )


def evaluate(tree: Tree, nodes: Sequence[int], *, tried: tuple[Tokens, ...] = ()) -> Steps[None]:
    """Have a verifier score nodes and write their values into the tree.

    `tried` are the attempts that a meta-critic judges them in the light of.
    """
    if not nodes:
        return
    values: list[float] = yield ScoreRequest(
        tree.problem, tuple(tree.prefix(node) for node in nodes), tried
    )
    for node, value in zip(nodes, values, strict=True):
        tree.set_value(node, value)


def value_of(tree: Tree, node: int) -> float:
    """Return a node's value in [0, 1]. Raises: `ValueError` where it has none."""
    value = tree.nodes[node].value
    if value is None:
        raise ValueError(f"node {node} has no value; it was not scored")
    return value


def is_solved(tree: Tree, since: int, accept: float | None) -> bool:
    """Whether a finished attempt among the nodes from `since` on has a value >= `accept`.

    `accept` None: no attempt is good enough to stop for.
    """
    return accept is not None and any(
        node.terminal and node.value is not None and node.value >= accept
        for node in tree.nodes[since:]
    )


def check_dials(search: str, accept: float | None, **dials: int | None) -> None:
    """Raise `UserError` on a dial below 1 (None: not set) and an `accept` outside [0, 1]."""
    for name, value in dials.items():
        if value is not None and value < 1:
            raise UserError(f"{search}: {name} is {value}; it must be at least 1")
    if accept is not None:
        check_share(search, "accept", accept)


def check_share(search: str, dial: str, value: float) -> None:
    """Raise `UserError` on a dial outside [0, 1]."""
    if not 0 <= value <= 1:
        raise UserError(f"{search}: {dial} is {value}; it must lie in [0, 1]")
