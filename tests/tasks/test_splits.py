"""The split rule: no seed brings a problem of one split into another."""

import random
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from system2.core import SPLITS, Split, UserError, derive_seed
from system2.tasks.splits import draw_split, split_of


def numbers(split: Split, seed: int, below: int, log: list[int] | None = None):
    """Draw whole numbers of a split, logging every candidate that is made."""

    def make(rng: random.Random) -> int:
        number = rng.randrange(below)
        if log is not None:
            log.append(number)
        return number

    return draw_split("numbers", split, seed, make, str)


def test_streams_that_meet_the_same_candidates_stay_disjoint():
    log: list[int] = []
    found: dict[Split, set[int]] = {split: set() for split in SPLITS}
    for seed in range(3):
        for split in SPLITS:
            num_wanted = 9_000 if split == "train" else 1_000
            found[split].update(islice(numbers(split, seed, 15_000, log), num_wanted))
    assert len(log) > 100_000
    assert len(set(log)) > 14_900, "every stream should have met nearly every number"
    assert not found["train"] & found["validation"]
    assert not found["train"] & found["test"]
    assert not found["validation"] & found["test"]


@given(st.text())
def test_the_split_of_a_content_is_one_of_the_three_and_stays(content: str):
    assert split_of(content) in SPLITS
    assert split_of(content) == split_of(content)


def test_four_in_five_contents_are_for_training():
    shares = Counter(split_of(f"problem {index}") for index in range(20_000))
    assert shares["train"] == pytest.approx(16_000, abs=300)
    assert shares["validation"] == pytest.approx(2_000, abs=200)


@pytest.mark.parametrize("split", SPLITS)
@given(seed=st.integers(0, 2**63 - 1))
def test_a_stream_keeps_to_its_split_without_duplicates(split: Split, seed: int):
    drawn = list(islice(numbers(split, seed, 1_000), 40))
    assert {split_of(str(number)) for number in drawn} == {split}
    assert len(set(drawn)) == len(drawn)
    assert drawn == list(islice(numbers(split, seed, 1_000), 40))


def test_neighbouring_seeds_make_different_streams():
    streams = [tuple(islice(numbers("train", seed, 10**12), 50)) for seed in range(20)]
    together = [number for stream in streams for number in stream]
    assert len(set(together)) == len(together)


def test_candidates_come_from_the_seed_of_their_index():
    log: list[int] = []
    next(numbers("test", 3, 10**12, log))
    expected = [
        random.Random(derive_seed("numbers", "test", 3, index)).randrange(10**12)
        for index in range(len(log))
    ]
    assert log == expected


def test_an_exhausted_stream_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("system2.tasks.splits.MAX_REJECTED", 500)
    with pytest.raises(UserError, match="different train problems found, then none in 500"):
        list(numbers("train", 0, 20))


def test_an_unknown_split_is_named():
    with pytest.raises(UserError, match="unknown split 'dev'"):
        next(draw_split("numbers", "dev", 0, random.Random.random, str))  # type: ignore[arg-type]


def test_what_is_not_kept_is_left_out_and_asked_only_within_the_split():
    asked: list[int] = []

    def is_even(number: int) -> bool:
        asked.append(number)
        return number % 2 == 0

    def make(rng: random.Random) -> int:
        return rng.randrange(10_000)

    kept = list(islice(draw_split("numbers", "test", 0, make, str, is_even), 100))
    every = list(islice(draw_split("numbers", "test", 0, make, str), 300))
    assert kept == [number for number in every if number % 2 == 0][:100]
    assert all(split_of(str(number)) == "test" for number in asked)
