"""The laws of the search tree, on trees that hypothesis grows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import Problem
from system2.tree import ROOT, Tree

PROBLEM = Problem(id="p", prompt="1 + 1?", answer="2", task="sums")

token_lists = st.lists(st.integers(0, 99), max_size=4).map(tuple)
growth = st.lists(st.tuples(st.integers(0, 10**6), token_lists, st.booleans()), max_size=20)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    tree = Tree(PROBLEM, seed=0, prompt=draw(token_lists))
    for pick, tokens, terminal in draw(growth):
        open_nodes = [i for i, node in enumerate(tree.nodes) if not node.terminal]
        parent = open_nodes[pick % len(open_nodes)]
        tree.add(parent, tokens, tuple(-0.5 for _ in tokens), terminal=terminal)
    return tree


@given(trees())
def test_a_prefix_is_the_prompt_and_what_the_path_added(tree: Tree) -> None:
    for index in range(len(tree.nodes)):
        path = tree.path(index)
        added = [token for at in path for token in tree.nodes[at].tokens]
        assert tree.prefix(index) == tree.prompt + tuple(added)
        assert tree.completion(index) == tuple(added)
        assert path[0] == ROOT
        assert path[-1] == index
        assert tree.nodes[index].depth == len(path) - 1


@given(trees())
def test_a_path_goes_from_parent_to_child_in_order_of_discovery(tree: Tree) -> None:
    for index in range(len(tree.nodes)):
        path = tree.path(index)
        assert path == sorted(path)
        assert [tree.nodes[at].parent for at in path] == [None, *path[:-1]]


@given(trees())
def test_every_node_lies_on_the_path_of_a_leaf(tree: Tree) -> None:
    leaves = tree.leaves()
    assert {at for leaf in leaves for at in tree.path(leaf)} == set(range(len(tree.nodes)))
    inner = {node.parent for node in tree.nodes}
    assert not inner & set(leaves)


@given(trees(), token_lists, st.booleans())
def test_adding_leaves_what_was_found_alone(tree: Tree, tokens: tuple[int, ...], end: bool) -> None:
    before = list(tree.nodes)
    index = tree.add(ROOT, tokens, tuple(-1.0 for _ in tokens), terminal=end)
    assert index == len(before)
    assert list(tree.nodes[:-1]) == before


def test_values_are_written_over_and_unknown_at_first() -> None:
    tree = Tree(PROBLEM, seed=0, prompt=(1, 2))
    child = tree.add(ROOT, (3,), (-0.1,), terminal=False)
    assert tree.nodes[child].value is None
    tree.set_value(child, 0.25)
    tree.set_value(child, 0.75)
    assert tree.nodes[child].value == 0.75
    assert tree.nodes[child].tokens == (3,)


def test_errors_name_the_node() -> None:
    tree = Tree(PROBLEM, seed=0, prompt=())
    end = tree.add(ROOT, (1,), (-0.1,), terminal=True)
    with pytest.raises(ValueError, match="node 1 is terminal; it cannot have children"):
        tree.add(end, (2,), (-0.1,), terminal=False)
    with pytest.raises(ValueError, match="node 9 does not exist; the tree has 2 nodes"):
        tree.add(9, (), (), terminal=False)
    with pytest.raises(ValueError, match="node -1 does not exist"):
        tree.prefix(-1)
    with pytest.raises(ValueError, match="2 tokens but 1 logprobs"):
        tree.add(ROOT, (1, 2), (-0.1,), terminal=False)
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="the value of node 1 is"):
            tree.set_value(end, value)
    assert len(tree.nodes) == 2
