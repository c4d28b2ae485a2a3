"""The prefix tree: keys and values of texts that were run before, found again by their tokens.

Place in the flow: `local` looks a prompt up before it is run, and stores what was run when it
has been; a search that goes on from a step, or from the same problem again, pays for the new
tokens alone, whichever search asked first. A branch holds the tokens that it adds, as a radix
tree does (SGLang, arXiv 2312.07104); what is used least recently goes first once the byte
budget is spent. Found pieces stay valid in the hands of whoever holds them, evicted or not
(torch counts the references), so nothing is ever locked. We differ from paged caches (vLLM)
in that a batch copies the pieces side by side: reading them once a step is what costs, and
contiguous rows need no kernel of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from jaxtyping import Float
from torch import Tensor

from system2.core import Tokens

Slabs = Sequence[Float[Tensor, "layer two kv place dim"]]
"""Keys and values of a stretch of text, a tensor for each shape of layers."""


@dataclass(frozen=True, slots=True)
class End:
    """What decoding goes on from after a text: the policy's hidden state, the guide's own."""

    hidden: Float[Tensor, "size"]
    own: Float[Tensor, "own"] | None


@dataclass(frozen=True, slots=True)
class Match:
    """The longest known beginning of a text: its length, its pieces, its end where known."""

    length: int
    pieces: list[Slabs]
    end: End | None


@dataclass(slots=True, eq=False)
class _Branch:
    tokens: Tokens
    slabs: Slabs
    parent: "_Branch | None"
    used: int = 0
    end: End | None = None
    children: dict[int, "_Branch"] = field(default_factory=dict[int, "_Branch"])

    @property
    def num_bytes(self) -> int:
        return sum(slab.nbytes for slab in self.slabs)


class PrefixTree:
    """Texts and their keys and values, at most `max_bytes` of them."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._root = _Branch((), [], None)
        self._time = 0

    def match(self, tokens: Tokens) -> Match:
        """Return the longest known beginning of a text, and note that it was used."""
        self._time += 1
        branch, at, pieces = self._root, 0, list[Slabs]()
        while at < len(tokens):
            child = branch.children.get(tokens[at])
            if child is None:
                break
            shared = num_shared(child.tokens, tokens[at : at + len(child.tokens)])
            child.used = self._time
            at += shared
            if shared < len(child.tokens):
                pieces.append([slab[..., :shared, :] for slab in child.slabs])
                return Match(at, pieces, None)
            pieces.append(child.slabs)
            branch = child
        return Match(at, pieces, branch.end)

    def insert(self, tokens: Tokens, slabs: Slabs, end: End | None = None) -> None:
        """Keep the keys and values of a text, of which `slabs` are the last places.

        What is known already is not stored again; where the beginning that `slabs` lack is
        not known (it was evicted), nothing is.
        """
        self._time += 1
        branch, at = self._root, 0
        while at < len(tokens):
            branch.used = self._time
            child = branch.children.get(tokens[at])
            if child is None:
                break
            shared = num_shared(child.tokens, tokens[at : at + len(child.tokens)])
            at += shared
            branch = child if shared == len(child.tokens) else self._split(child, shared)
        first = len(tokens) - (slabs[0].shape[-2] if slabs else 0)
        if at < first:
            return
        if at < len(tokens):
            added = [slab[..., at - first :, :].clone() for slab in slabs]
            child = _Branch(tokens[at:], added, branch)
            branch.children[tokens[at]] = child
            self.num_bytes += child.num_bytes
            branch = child
        branch.used = self._time
        branch.end = end or branch.end
        if self.num_bytes > self.max_bytes:
            self._evict()

    def _split(self, branch: _Branch, at: int) -> _Branch:
        """Cut a branch in two; return the first part."""
        parent = branch.parent
        assert parent is not None, "the root holds no tokens"
        first = _Branch(
            branch.tokens[:at],
            [slab[..., :at, :].clone() for slab in branch.slabs],
            parent,
            branch.used,
        )
        branch.slabs = [slab[..., at:, :].clone() for slab in branch.slabs]
        branch.tokens, branch.parent = branch.tokens[at:], first
        first.children[branch.tokens[0]] = branch
        parent.children[first.tokens[0]] = first
        return first

    def _evict(self) -> None:
        """Drop the leaves used least recently until a tenth of the budget is free."""
        target = self.max_bytes * 9 // 10
        heap = [(leaf.used, number, leaf) for number, leaf in enumerate(self._leaves())]
        heapify(heap)
        number = len(heap)
        while heap and self.num_bytes > target:
            _, _, leaf = heappop(heap)
            parent = leaf.parent
            assert parent is not None, "a leaf has a parent"
            del parent.children[leaf.tokens[0]]
            self.num_bytes -= leaf.num_bytes
            if not parent.children and parent is not self._root:
                number += 1
                heappush(heap, (parent.used, number, parent))

    def _leaves(self) -> list[_Branch]:
        found, stack = list[_Branch](), list(self._root.children.values())
        while stack:
            branch = stack.pop()
            stack += branch.children.values()
            if not branch.children:
                found.append(branch)
        return found


def num_shared(first: Tokens, second: Tokens) -> int:
    """Return how many tokens two texts have in common at their beginning."""
    length = min(len(first), len(second))
    if first[:length] == second[:length]:
        return length
    return next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
