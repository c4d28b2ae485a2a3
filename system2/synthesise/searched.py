"""Rows of trees files as searches that can be learned from: tokens checked, grades kept.

Place in the flow: a trees file (untrusted) -> `searched` -> value targets (`train.values`), the
meta-critic's examples, the generative verifier's. Steps are cut at the task's step stop, so
that a tree of whole attempts and one that was searched step by step give the same prefixes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from system2.core import Problem, Tokens, UserError
from system2.engine.steps import StepEnds
from system2.engine.tokenizer import Tokenizer
from system2.store import problem_of
from system2.tasks import find_task


@dataclass(frozen=True, slots=True)
class Found:
    """One node of a search: all tokens after the prompt, of which the last `num_added` are its
    own; `is_right` is the grade of a finished attempt, None where there is none."""

    parent: int | None
    completion: Tokens
    num_added: int
    is_right: bool | None


@dataclass(frozen=True, slots=True)
class Searched:
    """A problem, its prompt's tokens, and what a search of it found, in order of discovery."""

    problem: Problem
    prompt: Tokens
    nodes: tuple[Found, ...]

    def attempts(self) -> list[Found]:
        """Return the finished attempts that were graded, in order of discovery."""
        return [node for node in self.nodes if node.is_right is not None]


@dataclass(slots=True)
class StepTree:
    """A search as a tree of steps; node 0 is the prompt, and a parent comes before its children.

    `completions[i]` are the tokens from the prompt's end to the end of step i, `parents[i]` the
    step before it; `rewards[i]` is 1.0 or 0.0 where a graded attempt ends, else None;
    `counts[i]` says how often the step was drawn.
    """

    prompt: Tokens
    parents: list[int | None] = field(default_factory=lambda: [None])
    completions: list[Tokens] = field(default_factory=lambda: [()])
    rewards: list[float | None] = field(default_factory=lambda: [None])
    counts: list[float] = field(default_factory=lambda: [1.0])

    def tokens(self, node: int) -> Tokens:
        """Return a node's prefix, prompt included."""
        return self.prompt + self.completions[node]

    def leaves(self) -> list[int]:
        """Return the nodes that nothing hangs on, in order."""
        parents = set(self.parents)
        return [node for node in range(len(self.parents)) if node not in parents]

    def path(self, node: int) -> list[int]:
        """Return the nodes from the prompt to a node, both included."""
        found: list[int] = []
        at: int | None = node
        while at is not None:
            found.append(at)
            at = self.parents[at]
        return found[::-1]


def searched(
    rows: Iterable[Mapping[str, Any]], tokenizer: Tokenizer, where: str = "trees"
) -> Iterator[Searched]:
    """Yield the searches that rows of a trees file hold, lazily.

    Raises: `UserError` that names the row (from 1) that is no tree's, or whose tokens are not
    this tokenizer's.
    """
    for number, row in enumerate(rows, start=1):
        at = f"{where}, tree {number}"
        try:
            problem = problem_of(row["problem"], at)
            nodes = tuple(_nodes(row["nodes"], tokenizer, at))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{at}: not a tree's row ({error!r})") from None
        yield Searched(problem, tokenizer.prompt(problem.prompt), nodes)


def _nodes(rows: Sequence[Mapping[str, Any]], tokenizer: Tokenizer, at: str) -> Iterator[Found]:
    """Yield a tree's nodes. Raises: `ValueError` and its like where one is no node."""
    completions: list[Tokens] = []
    for number, row in enumerate(rows):
        added: Tokens = tuple(row["tokens"])
        if not all(type(token) is int and token >= 0 for token in added):
            raise ValueError(f"node {number} has tokens that are no tokens")
        if tokenizer.decode(added) != row["text"]:
            raise UserError(
                f"{at}: its tokens do not read as its text: sampled with another tokenizer"
            )
        parent: object = row["parent"]
        if parent is None and number == 0:
            before: Tokens = ()
        elif type(parent) is int and 0 <= parent < number:
            before = completions[parent]
        else:
            raise ValueError(f"node {number} has the parent {parent!r}")
        completions.append(before + added)
        grade: object = row.get("grade") if row["terminal"] is True else None
        is_right = grade if isinstance(grade, bool) else None
        yield Found(parent, completions[-1], len(added), is_right)


def step_stop_of(problem: Problem) -> str:
    """Return what ends a step in the task of a problem. Raises: `UserError`."""
    return find_task(problem.task).step_stop


def step_tree(search: Searched, step_ends: StepEnds) -> StepTree:
    """Return a search as a tree of steps: equal steps after equal prefixes are one.

    An attempt that ends with a step ends in that step's node; a step that was drawn again
    counts again.
    """
    tree = StepTree(search.prompt)
    known: dict[Tokens, int] = {(): 0}
    for node in search.nodes:
        start = len(node.completion) - node.num_added
        ends = [end for end in step_ends.ends(node.completion) if end > start]
        whole = len(node.completion)
        if node.num_added and (not ends or ends[-1] != whole):
            ends.append(whole)
        at = known[node.completion[:start]]
        for end in ends:
            prefix = node.completion[:end]
            if prefix not in known:
                known[prefix] = len(tree.parents)
                tree.parents.append(at)
                tree.completions.append(prefix)
                tree.rewards.append(None)
                tree.counts.append(0.0)
            at = known[prefix]
            tree.counts[at] += 1
        if node.is_right is not None and at:  # an attempt of no token ends nowhere
            tree.rewards[at] = float(node.is_right)
    return tree
