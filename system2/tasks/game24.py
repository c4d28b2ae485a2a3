"""The Game of 24: make 24 of four numbers, each used exactly once (arXiv 2305.10601, section 4.1).

Countdown with one target: its prompt, solutions and perfect play are countdown's. There are only
so many hands, so that a split of `game24` is finite: every solvable hand of four numbers in 1..13,
split by its content. `game24_file` reads the published list of hands, by rising difficulty: its
rows 900 to 999 (counted from 0) are the classic test, a tenth of the others, chosen by hash, is
"validation", the rest "train". The two tasks hold the same hands and split them differently: train
on the one that is tested.
"""

import hashlib
import itertools
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from system2.core import SPLITS, Problem, Split, Task, UserError, derive_seed
from system2.tasks import countdown
from system2.tasks.countdown import final_expression, makes, play_value, solution_of
from system2.tasks.data_files import Row, Source, read_file, split_published
from system2.tasks.expressions import parse, render
from system2.tasks.number_play import solve
from system2.tasks.splits import split_of

NAME = "game24"
NAME_FILE = "game24_file"
SIZE = 4
"""Numbers of a hand."""
LARGEST = 50
"""The highest `max_number`: hands are listed, and above it there would be too many."""
HANDS = Source("game24/24.csv")
CLASSIC_TEST = Source("game24/24.csv", start=900, stop=1000)


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The dials of generated hands: numbers lie in 1..`max_number`, and `target` is to be made.

    Raises: `UserError` on a dial out of its range.
    """

    max_number: int = 13
    target: int = 24

    def __post_init__(self) -> None:
        if not 1 <= self.max_number <= LARGEST:
            raise UserError(f"max_number is {self.max_number}; it must lie in 1..{LARGEST}")
        if self.target < 1:
            raise UserError(f"target is {self.target}; it must be at least 1")


DEFAULT = Difficulty()


def problems(split: Split, seed: int, difficulty: Difficulty = DEFAULT) -> Iterator[Problem]:
    """Yield every solvable hand of a split once, in an order that the seed decides.

    Raises: `UserError` on an unknown split.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    every = range(1, difficulty.max_number + 1)
    hands = [
        hand
        for hand in itertools.combinations_with_replacement(every, SIZE)
        if split_of(_content(hand, difficulty.target)) == split
    ]
    rng = random.Random(derive_seed(NAME, split, seed))
    rng.shuffle(hands)
    dealt = (rng.sample(hand, SIZE) for hand in hands)
    return filter(None, (hand_problem(hand, difficulty.target) for hand in dealt))


def hand_problem(hand: Sequence[int], target: int = DEFAULT.target) -> Problem | None:
    """Return the problem of a hand, its numbers as they are dealt; None where it has no solution.

    >>> hand_problem([3, 8, 3, 8]).answer
    '8 / (3 - 8 / 3)'
    """
    expression = solve(hand, target)
    if expression is None:
        return None
    *others, last = map(str, hand)
    content = _content(hand, target)
    return Problem(
        id=f"{NAME}-{hashlib.blake2b(content.encode(), digest_size=6).hexdigest()}",
        prompt=f"From the numbers {', '.join(others)} and {last} make {target} with + - * / and "
        "brackets, using each exactly once.",
        answer=render(expression),
        task=NAME,
        metadata={
            "numbers": list(hand),
            "target": target,
            "all_numbers": True,
            "difficulty": len(hand) - 1,
            "solution": solution_of(expression),
        },
    )


def _content(hand: Sequence[int], target: int) -> str:
    """What makes two hands the same: the numbers in any order, and the target."""
    return f"{' '.join(map(str, sorted(hand)))} -> {target}"


def check(numbers: Sequence[int], text: str, target: int = DEFAULT.target) -> bool:
    """Return whether the final expression of a text makes the target, each number used once.

    The published rule: what the text claims after "=" is not read, neither is what leads there.
    """
    if len(text) > countdown.MAX_TEXT:
        return False
    expression = parse(final_expression(text).partition("=")[0])
    return makes(expression, numbers, target, all_numbers=True)


def grade(problem: Problem, text: str) -> bool:
    """Return whether a text solves the problem and every line of it that is an equation holds."""
    numbers, target, _ = countdown.asked_of(problem)
    if not check(numbers, text, target):
        return False
    return all(map(countdown.is_true_line, text.splitlines()))


def optimal(problem: Problem, text: str) -> float | None:
    """Return the value of the beginning of a solution under perfect play, as countdown's."""
    return play_value(problem, text, grade)


def read_hands(path: str | os.PathLike[str]) -> list[tuple[int, ...]]:
    """Return the hands of a published list, a CSV file with a column "Puzzles", in its order.

    Raises: `UserError` that names the row that holds no hand, `OSError` on an absent file.
    """
    return [_hand(row) for row in read_file(Path(path))]


def _hand(row: Row) -> tuple[int, ...]:
    words = str(row.get("Puzzles") or "").split()
    if len(words) != SIZE or not all(word.isascii() and word.isdecimal() for word in words):
        raise UserError(
            f'a row of the Game of 24 needs {SIZE} whole numbers as "Puzzles"; it has {dict(row)}'
        )
    return tuple(map(int, words))


def _file_problem(row: Row) -> Problem | None:
    problem = hand_problem(_hand(row))
    if problem is None:
        return None
    return replace(problem, metadata={**problem.metadata, "rank": row.get("Rank")})


def file_problems(split: Split, seed: int) -> Iterator[Problem]:
    """Yield a split of the published list; the seed only shuffles it (0: as published).

    Raises: `UserError` on an unknown split, a broken file, a file that is not there.
    """
    return split_published(split, seed, HANDS, CLASSIC_TEST, _file_problem)


TASK = Task(NAME, problems, grade, countdown.answer_of, optimal=optimal)
TASK_FILE = Task(NAME_FILE, file_problems, grade, countdown.answer_of, optimal=optimal)
