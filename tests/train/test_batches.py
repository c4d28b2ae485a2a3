"""Batches: nothing is lost, nothing is too large, and a step alone says what is in it."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from system2.core import UserError
from system2.train.batches import BatchPlan, Example, PlannedSteps, planned_batches, text_batch

lengths_of_data = st.lists(st.integers(1, 60), min_size=1, max_size=80).map(tuple)


@given(lengths_of_data, st.integers(1, 200), st.integers(0, 3), st.integers(0, 5))
def test_an_epoch_holds_every_item_once_in_batches_that_fit(
    lengths: tuple[int, ...], max_tokens: int, seed: int, epoch: int
) -> None:
    batches = BatchPlan(lengths, max_tokens, seed).epoch(epoch)
    assert sorted(item for batch in batches for item in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[item] for item in batch)
        assert padded <= max_tokens or len(batch) == 1


@given(lengths_of_data, st.integers(30, 200), st.integers(1, 9))
def test_the_steps_of_an_epoch_meet_its_items_once_but_for_the_cut_end(
    lengths: tuple[int, ...], max_tokens: int, per_step: int
) -> None:
    plan = BatchPlan(lengths, max_tokens, seed=1)
    steps = PlannedSteps(plan, per_step)
    for epoch in range(3):
        whole = plan.epoch(epoch)
        met = [
            tuple(batch)
            for step in range(epoch * steps.per_epoch, (epoch + 1) * steps.per_epoch)
            for batch in steps(step)
        ]
        assert len(met) == steps.per_epoch * steps.per_step
        wraps = max(0, len(met) - len(whole))
        assert met[: len(whole)] == [tuple(batch) for batch in whole][: len(met)]
        assert met[len(whole) :] == [tuple(batch) for batch in whole][:wraps]
    first = Counter(item for step in range(steps.per_epoch) for b in steps(step) for item in b)
    assert set(first.values()) == {1}


@given(lengths_of_data, st.permutations(range(20)))
def test_a_step_does_not_depend_on_those_asked_before(
    lengths: tuple[int, ...], order: list[int]
) -> None:
    plan = BatchPlan(lengths, 100, seed=4)
    steps = PlannedSteps(plan, 2)
    assert {i: steps(i) for i in order} == {i: PlannedSteps(plan, 2)(i) for i in order}


def test_another_seed_and_another_epoch_are_other_orders() -> None:
    lengths = tuple(range(1, 60))
    one = BatchPlan(lengths, 100, seed=0)
    assert one.epoch(0) != one.epoch(1)
    assert one.epoch(0) != BatchPlan(lengths, 100, seed=1).epoch(0)


def test_batches_of_like_length_waste_little() -> None:
    lengths = tuple(10 + (37 * i) % 90 for i in range(2_000))
    batches = BatchPlan(lengths, 1_500, seed=0).epoch(0)
    padded = sum(len(batch) * max(lengths[item] for item in batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)


def test_more_micro_batches_than_there_are_make_one_step_of_each() -> None:
    batches, per_epoch = planned_batches(
        [3, 4, 5], lambda n: n, sum, max_tokens=5, seed=0, per_step=8
    )
    assert per_epoch == 1
    assert sorted(batches(0)) == sorted(batches(1)) == [3, 4, 5]


def test_no_data_is_refused() -> None:
    with pytest.raises(UserError, match="nothing to train on"):
        BatchPlan((), 100, 0)


@given(
    st.lists(
        st.tuples(st.lists(st.integers(1, 9), min_size=2, max_size=8), st.integers(0, 8)),
        min_size=1,
        max_size=5,
    )
)
def test_padding_is_on_the_right_and_never_a_target(drawn: list[tuple[list[int], int]]) -> None:
    examples = [Example(tuple(tokens), min(start, len(tokens))) for tokens, start in drawn]
    batch = text_batch(examples, pad=0)
    for row, example in enumerate(examples):
        length = len(example.tokens)
        assert tuple(batch.tokens[row, :length].tolist()) == example.tokens
        assert not batch.tokens[row, length:].any()
        wanted = [max(1, example.start) <= t < length for t in range(batch.tokens.shape[1])]
        assert batch.is_target[row].tolist() == wanted
    assert batch.num_targets == int(batch.is_target.sum())
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved.tokens, batch.tokens)
