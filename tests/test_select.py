"""Selection: what it picks, and that the order of discovery never matters."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import Problem
from system2.select import SELECTIONS, Selection, best, majority, weighted_majority
from system2.tree import ROOT, Tree

PROBLEM = Problem(id="p", prompt="?", answer="1", task="sums")

Attempt = tuple[tuple[int, ...], tuple[float, ...], float | None, bool]
"""Tokens, logprobs, value and whether it came to an end; its answer is the last token, 0: none."""


def attempt(tokens: tuple[int, ...], logprob: float, value: float | None, end: bool) -> Attempt:
    return tokens, (logprob,) * len(tokens), value, end


attempts = st.builds(
    attempt,
    st.sampled_from([(1,), (2,), (3,), (0,), (1, 0), (1, 2), (2, 1), (3, 1)]),
    st.sampled_from([-0.1, -0.7]),
    st.sampled_from([None, 0.0, 0.1, 0.2, 0.3, 0.7]),
    st.sampled_from([True, True, True, False]),
)
many = st.lists(attempts, max_size=10)
every_selection = pytest.mark.parametrize("select", SELECTIONS.values(), ids=SELECTIONS)


def grown(found: Sequence[Attempt], seed: int = 0) -> tuple[Tree, Callable[[int], str | None]]:
    tree = Tree(PROBLEM, seed=seed, prompt=(9,))
    for tokens, logprobs, value, terminal in found:
        leaf = tree.add(ROOT, tokens, logprobs, terminal=terminal)
        if value is not None:
            tree.set_value(leaf, value)
    return tree, lambda leaf: str(tree.completion(leaf)[-1] or "") or None


def picked(select: Selection, found: Sequence[Attempt], seed: int = 0) -> Attempt | None:
    """Return what the chosen leaf holds."""
    tree, answer_of = grown(found, seed)
    leaf = select(tree, answer_of)
    if leaf is None:
        return None
    node = tree.nodes[leaf]
    return node.tokens, node.logprobs, node.value, node.terminal


def votes(found: Sequence[Attempt], weight: Callable[[Attempt], float | None]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for attempt in found:
        vote = weight(attempt)
        if attempt[3] and attempt[0][-1] and vote is not None:
            counts[attempt[0][-1]] += round(100 * vote)
    return counts


@every_selection
@given(found=many, data=st.data(), seed=st.integers(0, 5))
def test_order_does_not_matter(
    select: Selection, found: list[Attempt], data: st.DataObject, seed: int
) -> None:
    def held(attempt: Attempt | None) -> tuple[object, ...] | None:
        # Of leaves with equal tokens and total logprob either may be taken.
        return attempt and (attempt[0], math.fsum(attempt[1]), attempt[2])

    shuffled = data.draw(st.permutations(found))
    assert held(picked(select, found, seed)) == held(picked(select, shuffled, seed))


@every_selection
@given(found=many)
def test_only_an_end_with_an_answer_is_chosen(select: Selection, found: list[Attempt]) -> None:
    choice = picked(select, found)
    possible = [attempt for attempt in found if attempt[3] and attempt[0][-1]]
    if select is weighted_majority:
        possible = [attempt for attempt in possible if attempt[2] is not None]
    if choice is None:
        assert not possible
    else:
        assert choice in found
        assert choice[3]
        assert choice[0][-1]


@given(many)
def test_best_has_the_highest_value(found: list[Attempt]) -> None:
    choice = picked(best, found)
    values = [
        -1 if value is None else value for tokens, _, value, end in found if end and tokens[-1]
    ]
    if choice is not None:
        assert (-1 if choice[2] is None else choice[2]) == max(values)


@given(many)
def test_majority_has_the_most_votes(found: list[Attempt]) -> None:
    counts = votes(found, lambda attempt: 1)
    choice = picked(majority, found)
    if choice is not None:
        assert counts[choice[0][-1]] == max(counts.values())


@given(many)
def test_weighted_majority_has_the_most_value(found: list[Attempt]) -> None:
    counts = votes(found, lambda attempt: attempt[2])
    choice = picked(weighted_majority, found)
    if choice is not None:
        assert counts[choice[0][-1]] == max(counts.values())


def test_a_tie_of_votes_falls_either_way_over_many_trees() -> None:
    found: list[Attempt] = [((1,), (-0.1,), None, True), ((2,), (-0.7,), None, True)]
    chosen = Counter(choice[0] for seed in range(200) if (choice := picked(majority, found, seed)))
    assert min(chosen[(1,)], chosen[(2,)]) > 70


def test_unscored_attempts_fall_back_to_the_likeliest() -> None:
    found: list[Attempt] = [((1, 1), (-0.7, -0.1), None, True), ((2,), (-0.1,), None, True)]
    assert picked(best, found) == found[1]
    assert picked(weighted_majority, found) is None


def test_an_empty_tree_has_no_choice() -> None:
    assert [picked(select, []) for select in SELECTIONS.values()] == [None] * len(SELECTIONS)
