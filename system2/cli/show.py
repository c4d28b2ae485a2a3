"""`system2 show`: a tree as indented text."""

from pathlib import Path
from typing import TYPE_CHECKING

from system2.cli.options import Count, Json
from system2.cli.terminal import finish, say

if TYPE_CHECKING:
    from rich.text import Text

    from system2.evaluate.outline import Outline, Thought

_GRADES = {True: "right", False: "wrong", None: "not judged"}
_STYLES = {True: "green", False: "red", None: ""}


def show(
    trees: Path,
    /,
    *,
    problem: str = "0",
    depth: Count = 32,
    nodes: Count = 500,
    json: Json = False,
) -> None:
    """Print the tree of one problem as indented text.

    Each node shows the text it adds and, in brackets, its value. A finished attempt ends in its
    grade and, where it gave the selected answer, in "answer"; what a search dropped is marked.

    Parameters
    ----------
    trees
        A trees file, as system2 solve writes it, or a log of Tree of Thoughts (a JSON list).
    problem
        Which tree: its number in the file, from 0, or the id of its problem.
    depth
        The deepest nodes to print.
    nodes
        The most nodes to print.
    """
    from system2.evaluate.outline import find_tree, open_trees, outline

    number, row = find_tree(open_trees(trees), problem)
    found = outline(row, f"{trees}, tree {number}")
    attempts = sum(thought.terminal for thought in found.thoughts)
    result = {
        "tree": number,
        "problem": found.problem,
        "answer": found.answer,
        "grade": found.grade,
        "nodes": len(found.thoughts),
        "attempts": attempts,
    }
    if not json:
        say(_drawn(found, depth, nodes))
    line = (
        f"tree {number}: {len(found.thoughts)} nodes, {attempts} finished attempts, "
        f"answer {' '.join((found.answer or 'none').split())} ({_GRADES[found.grade]})"
    )
    finish(line, result, as_json=json)


def _drawn(found: "Outline", depth: int, most: int) -> str:
    """Return the picture of a tree, in colour where stdout is a terminal."""
    import io
    import sys

    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    root = Tree(Text.assemble((found.problem, "bold"), "\n", found.prompt))
    branches: list[Tree | None] = [root]
    num_drawn, num_hidden = 0, 0
    for thought in found.thoughts[1:]:
        above = None if thought.parent is None else branches[thought.parent]
        if above is None or thought.depth > depth or num_drawn == most:
            branches.append(None)
            num_hidden += 1
            continue
        branches.append(above.add(_label(thought)))
        num_drawn += 1
    if num_hidden:
        root.add(Text(f"({num_hidden} more nodes: see --depth and --nodes)", "dim"))
    # Rich would break lines of a deep node to nothing: a wide picture is the lesser evil.
    deepest = min(depth, max(thought.depth for thought in found.thoughts))
    width = max(Console().width, 4 * deepest + 60)
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=sys.stdout.isatty())
    console.print(root)
    return out.getvalue().rstrip("\n")


def _label(thought: "Thought") -> "Text":
    """Return what a node shows; a `Text` is never read as markup."""
    from rich.text import Text

    label = Text(thought.text.strip() or "(nothing)")
    if thought.value is not None:
        label.append(f"  [{thought.value:.3g}]", "cyan")
    if thought.terminal:
        label.append(f"  {_GRADES[thought.grade]}", _STYLES[thought.grade])
    if thought.is_answer:
        label.append("  answer", "bold")
    if thought.is_dropped:
        label.append("  dropped", "dim")
    return label
