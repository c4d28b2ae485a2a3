"""The record of one search: a tree of tokens, in order of discovery.

A search appends to it, selection and synthesis read it. A node holds the tokens it ADDS to its
parent, so a prefix is shared by all that grew from it and a leaf is one whole attempt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from system2.core import Problem, Tokens

ROOT = 0
"""Index of the node that every tree begins with: the prompt, to which it adds nothing."""


@dataclass(frozen=True, slots=True)
class Node:
    """What one step of a search added.

    `logprobs` (nats) belong to `tokens` one to one. A `terminal` node ends its attempt. `value`
    in [0, 1] is a verifier's estimate that the prefix ends right; None: not scored.
    """

    parent: int | None
    tokens: Tokens
    logprobs: tuple[float, ...]
    depth: int
    terminal: bool
    value: float | None = None


class Tree:
    """A problem, the seed of its search, and the nodes found so far (append-only).

    The driver adds what its answers cost to `sampled_tokens`, `scored_prefixes` and
    `positions_requested` (the prompt and tokens of every completion, less the last token, which
    is never run): a search may drop a completion, so the nodes alone do not tell.
    """

    def __init__(self, problem: Problem, seed: int, prompt: Tokens) -> None:
        self.problem = problem
        self.seed = seed
        self.prompt = prompt
        self.sampled_tokens = 0
        self.scored_prefixes = 0
        self.positions_requested = 0
        self._nodes = [Node(parent=None, tokens=(), logprobs=(), depth=0, terminal=False)]

    @property
    def nodes(self) -> Sequence[Node]:
        """The nodes in order of discovery; `nodes[ROOT]` is the prompt."""
        return self._nodes

    def add(
        self, parent: int, tokens: Tokens, logprobs: tuple[float, ...], *, terminal: bool
    ) -> int:
        """Append a child and return its index.

        Raises: `ValueError` where the parent is absent or terminal, or where tokens and
        log-probabilities differ in number.
        """
        above = self._node(parent)
        if above.terminal:
            raise ValueError(f"node {parent} is terminal; it cannot have children")
        if len(tokens) != len(logprobs):
            raise ValueError(f"{len(tokens)} tokens but {len(logprobs)} logprobs")
        self._nodes.append(Node(parent, tokens, logprobs, above.depth + 1, terminal))
        return len(self._nodes) - 1

    def set_value(self, index: int, value: float) -> None:
        """Write a node's value, over an older one if there is one.

        Raises: `ValueError` where the node is absent or the value outside [0, 1].
        """
        node = self._node(index)
        if not 0 <= value <= 1:
            raise ValueError(f"the value of node {index} is {value}; it must lie in [0, 1]")
        self._nodes[index] = replace(node, value=value)

    def path(self, index: int) -> list[int]:
        """Return the indices from the root to a node, both included. Raises: `ValueError`."""
        found: list[int] = []
        at: int | None = index
        while at is not None:
            found.append(at)
            at = self._node(at).parent
        return found[::-1]

    def completion(self, index: int) -> Tokens:
        """Return all that was added to the prompt on the way to a node. Raises: `ValueError`."""
        return tuple(token for at in self.path(index) for token in self._nodes[at].tokens)

    def prefix(self, index: int) -> Tokens:
        """Return prompt and completion: what a policy goes on from. Raises: `ValueError`."""
        return self.prompt + self.completion(index)

    def leaves(self) -> list[int]:
        """Return the nodes without children, in order of discovery."""
        parents = {node.parent for node in self._nodes}
        return [index for index in range(len(self._nodes)) if index not in parents]

    def _node(self, index: int) -> Node:
        if not 0 <= index < len(self._nodes):
            raise ValueError(f"node {index} does not exist; the tree has {len(self._nodes)} nodes")
        return self._nodes[index]
