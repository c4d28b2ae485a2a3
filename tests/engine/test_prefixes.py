"""The prefix tree: what it says it knows is what was stored, within its budget."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from system2.core import Tokens
from system2.engine.prefixes import End, PrefixTree

texts = st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple)


def slab(text: Tokens) -> Tensor:
    """Keys and values that tell every beginning apart: each place holds its prefix's number."""
    numbers = [int("1" + "".join(map(str, text[: i + 1]))) for i in range(len(text))]
    return torch.tensor(numbers, dtype=torch.float64)[:, None].expand(1, 2, 1, len(text), 3)


def recalled(tree: PrefixTree, text: Tokens) -> tuple[int, Tensor]:
    found = tree.match(text)
    pieces = [piece[0] for piece in found.pieces]
    whole = torch.cat(pieces, dim=-2) if pieces else slab(text)[..., :0, :]
    return found.length, whole


def num_shared(first: Tokens, second: Tokens) -> int:
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )


@given(st.lists(texts, max_size=12), texts)
def test_it_knows_the_longest_beginning_that_was_stored(
    stored: list[Tokens], asked: Tokens
) -> None:
    tree = PrefixTree(1 << 30)
    for text in stored:
        tree.insert(text, [slab(text)])
    length, held = recalled(tree, asked)
    assert length == max((num_shared(text, asked) for text in stored), default=0)
    assert torch.equal(held, slab(asked)[..., :length, :])
    distinct = {text[:end] for text in stored for end in range(1, len(text) + 1)}
    assert tree.num_bytes == len(distinct) * 2 * 3 * 8


@given(st.lists(texts, min_size=1, max_size=12), st.data())
def test_the_last_places_alone_are_enough_where_the_rest_is_known(
    stored: list[Tokens], data: st.DataObject
) -> None:
    tree, known = PrefixTree(1 << 30), set[Tokens]()
    for text in stored:
        first = data.draw(st.integers(0, len(text)))
        tree.insert(text, [slab(text)[..., first:, :]])
        if not first or text[:first] in known:
            known |= {text[:end] for end in range(1, len(text) + 1)}
        for other in stored:
            length, held = recalled(tree, other)
            assert length == max(
                (n for n in range(1, len(other) + 1) if other[:n] in known), default=0
            )
            assert torch.equal(held, slab(other)[..., :length, :])


@given(st.lists(texts, min_size=1, max_size=30), st.integers(1, 12))
@settings(max_examples=50)
def test_it_keeps_to_its_budget_and_forgets_the_oldest_first(
    stored: list[Tokens], places: int
) -> None:
    tree = PrefixTree(places * 48)
    for text in stored:
        tree.insert(text, [slab(text)])
        assert tree.num_bytes <= tree.max_bytes
        length, held = recalled(tree, text)
        assert torch.equal(held, slab(text)[..., :length, :])
        if len(text) <= places * 9 // 10:
            assert length == len(text), "what was just stored goes last"


def test_an_end_is_found_with_its_text_alone() -> None:
    tree = PrefixTree(1 << 20)
    end = End(torch.ones(4), None)
    tree.insert((1, 2, 3), [slab((1, 2, 3))], end)
    assert tree.match((1, 2, 3)).end is end
    assert tree.match((1, 2)).end is None
    assert tree.match((1, 2, 3, 1)).end is end, "the pieces end where the known text does"
    tree.insert((1, 2, 0), [slab((1, 2, 0))])
    assert tree.match((1, 2, 3)).end is end, "a branch that is cut keeps its end"
    assert tree.match((1, 2)).end is None


@pytest.mark.parametrize("held", [0, 2])
def test_what_lacks_its_beginning_is_not_stored(held: int) -> None:
    tree = PrefixTree(1 << 20)
    if held:
        tree.insert((1, 2), [slab((1, 2))])
    tree.insert((1, 2, 0, 1), [slab((1, 2, 0, 1))[..., 3:, :]])
    assert tree.match((1, 2, 0, 1)).length == held
