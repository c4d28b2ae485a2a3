"""Sudoku of 4 rows: one solution each, by a plain search of another kind, judged exactly."""

import itertools
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import UserError
from system2.tasks import sudoku
from system2.tasks.sudoku import Difficulty, Grid, full_grids, generate, solutions, solve, written

seeds = st.integers(0, 2**60)
GROUPS = [
    *([4 * row + column for column in range(4)] for row in range(4)),
    *([4 * row + column for row in range(4)] for column in range(4)),
    *([4 * (y + dy) + x + dx for dy in (0, 1) for dx in (0, 1)] for y in (0, 2) for x in (0, 2)),
]
FULL = (1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1)
PUZZLE = (1, 0, 0, 4, 0, 4, 0, 0, 2, 0, 0, 3, 0, 0, 2, 0)


def is_full(grid: Grid) -> bool:
    return all(sorted(grid[cell] for cell in group) == [1, 2, 3, 4] for group in GROUPS)


def searched(grid: Grid) -> list[Grid]:
    """Every solution, by trying each number in the first empty cell."""
    for group in GROUPS:
        known = [grid[cell] for cell in group if grid[cell]]
        if len(known) != len(set(known)):
            return []
    if 0 not in grid:
        return [grid]
    cell = grid.index(0)
    tried = ((*grid[:cell], number, *grid[cell + 1 :]) for number in range(1, 5))
    return [found for grid in tried for found in searched(grid)]


def test_there_are_288_full_grids() -> None:
    assert len(full_grids()) == len(set(full_grids())) == 288
    assert all(map(is_full, full_grids()))
    assert FULL in full_grids()


@given(st.lists(st.integers(0, 4) | st.just(0), min_size=16, max_size=16))
@settings(max_examples=40)
def test_solutions_are_those_of_a_plain_search(cells: list[int]) -> None:
    if cells.count(0) > 12:
        cells[:4] = FULL[:4]
    grid = tuple(cells)
    assert list(solutions(grid)) == searched(grid)


@given(seeds)
@settings(max_examples=40)
def test_a_problem_has_one_solution_and_its_steps_lead_there(seed: int) -> None:
    problem = generate(random.Random(seed))
    grid = tuple(problem.metadata["grid"])
    (only,) = searched(grid)
    assert solve(grid) == only
    assert 4 <= 16 - grid.count(0) <= 8
    solution = problem.metadata["solution"]
    assert sudoku.grade(problem, solution)
    lines = solution.split("\n")
    assert len(lines) == grid.count(0) + 1
    for count in range(len(lines) + 1):
        assert sudoku.optimal(problem, "\n".join(lines[:count])) == 1.0
    cell = grid.index(0)
    for number in range(1, 5):
        step = f"row {cell // 4 + 1} column {cell % 4 + 1} is {number}"
        assert sudoku.optimal(problem, step) == float(number == only[cell])


def test_no_other_full_grid_is_right() -> None:
    assert solve(PUZZLE) == FULL
    problem = written(PUZZLE)
    for grid in full_grids():
        text = f"So the answer is {sudoku.show(grid)}."
        assert sudoku.grade(problem, text) == (grid == FULL)
        assert sudoku.optimal(problem, text) == float(grid == FULL)


@pytest.mark.parametrize(
    ("text", "right", "value"),
    [
        ("1234341221434321", True, 1.0),
        ("1234\n3412\n2143\n4321", True, 1.0),
        ("Done:\n1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1\n", True, 1.0),
        ("The answer is:\n1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1", True, 1.0),
        ("<answer>\n1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1\n</answer>", True, 1.0),
        (r"\boxed{1,2,3,4;3,4,1,2;2,1,4,3;4,3,2,1}", True, 1.0),
        ("row 1 column 2 is 3\nSo the answer is 1234 3412 2143 4321.", False, 0.0),
        ("row 1 column 2 is 2\nrow 1 column 2 is 3", False, 0.0),
        ("row 1 column 1 is 1", False, 1.0),
        ("row 1 column 1 is 2", False, 0.0),
        ("Row 1, column 2 = 2.", False, 1.0),
        ("", False, 1.0),
        ("row 5 column 2 is 2", False, None),
        ("It is easy.", False, None),
        ("So the answer is 1 2 3 4.", False, 0.0),
        ("12343412214343211", False, None),
        ("1" * 10**6, False, 0.0),
        ("1 " * 90_000, False, None),
        ("row 1 column 2 is 2\n" * 9_000, False, 1.0),
    ],
)
def test_texts(text: str, right: bool, value: float | None) -> None:
    start = time.process_time()
    assert sudoku.grade(written(PUZZLE), text) is right
    assert sudoku.optimal(written(PUZZLE), text) == value
    assert time.process_time() - start < 2


def test_grids_without_exactly_one_solution_are_refused() -> None:
    for grid in ((0,) * 16, (1, 1, *(0,) * 14)):
        with pytest.raises(UserError, match="exactly one solution"):
            written(grid)


def test_dials() -> None:
    clues = {
        16 - generate(random.Random(seed), Difficulty(5, 6)).metadata["grid"].count(0)
        for seed in range(20)
    }
    assert clues == {5, 6}
    assert generate(random.Random(0), Difficulty(4, 4)).metadata["grid"].count(0) == 12
    for dials in itertools.product((3, 9), (8, 16)):
        with pytest.raises(UserError, match="clues"):
            Difficulty(*dials)
