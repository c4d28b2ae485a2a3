"""Sudoku of 4 rows: fill a grid with 1 to 4, each once in every row, column and 2 by 2 box.

There are 288 full grids, so that the solver looks among them. A problem has exactly one solution;
its reference solution fills one cell a line, one that the others leave fewest numbers for, and
ends with the whole grid.
"""

import hashlib
import itertools
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from system2.core import Problem, Split, Task, UserError
from system2.tasks.asked import whole_numbers
from system2.tasks.splits import draw_split
from system2.tasks.statements import final_statement

NAME = "sudoku"
MAX_TEXT = 200_000
"""Characters of the longest completion that is read; a longer one is refused."""
MAX_TRIES = 10_000
"""Draws without a puzzle after which the dials are taken to admit none."""
SIZE = 4
BOX = 2
FEWEST_CLUES = 4
"""No grid of fewer clues has exactly one solution."""

Grid: TypeAlias = tuple[int, ...]
"""16 numbers, row by row from the top; 0 is an empty cell."""

_PEERS = [
    [
        other
        for other in range(SIZE * SIZE)
        if other != cell
        and (
            other // SIZE == cell // SIZE
            or other % SIZE == cell % SIZE
            or (other // SIZE // BOX, other % SIZE // BOX)
            == (cell // SIZE // BOX, cell % SIZE // BOX)
        )
    ]
    for cell in range(SIZE * SIZE)
]
"""For each cell the others of its row, column and box."""
_STEP = re.compile(r"row ([1-4]),? column ([1-4]) (?:is|=) ([1-4])\.?", re.IGNORECASE)
_GRID = re.compile(r"[\s,;/|&\\]*([1-4][\s,;/|&\\]*){16}")


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The dials of generated puzzles: the number of clues lies in `min_clues`..`max_clues`.

    Raises: `UserError` on dials that no puzzle can satisfy.
    """

    min_clues: int = 4
    max_clues: int = 8

    def __post_init__(self) -> None:
        if not FEWEST_CLUES <= self.min_clues <= self.max_clues < SIZE * SIZE:
            raise UserError(
                f"clues {self.min_clues}..{self.max_clues} must be a range within "
                f"{FEWEST_CLUES}..{SIZE * SIZE - 1}"
            )


DEFAULT = Difficulty()


def candidates(grid: Grid, cell: int) -> list[int]:
    """Return the numbers that no other cell of the row, column or box holds."""
    taken = {grid[other] for other in _PEERS[cell]}
    return [number for number in range(1, SIZE + 1) if number not in taken]


@lru_cache(maxsize=1)
def full_grids() -> tuple[Grid, ...]:
    """Return all 288 full grids, in ascending order."""
    rows = list(itertools.permutations(range(1, SIZE + 1)))
    found: list[Grid] = [()]
    for _ in range(SIZE):
        found = [(*grid, *row) for grid in found for row in rows if _fits(grid, row)]
    return tuple(found)


def _fits(above: Grid, row: Grid) -> bool:
    """Return whether a row repeats nothing of the columns and boxes above it."""
    grid = (*above, *row, *(0 for _ in range(SIZE * SIZE - len(above) - SIZE)))
    return all(row[x] in candidates(grid, len(above) + x) for x in range(SIZE))


@lru_cache(maxsize=1)
def _holding() -> dict[tuple[int, int], int]:
    """Return for each (cell, number) which full grids have it: bit i is grid i."""
    found: dict[tuple[int, int], int] = {}
    for index, grid in enumerate(full_grids()):
        for place in enumerate(grid):
            found[place] = found.get(place, 0) | 1 << index
    return found


def _left(grid: Grid) -> int:
    """Return which full grids hold all that a grid holds: bit i is grid i."""
    left = (1 << len(full_grids())) - 1
    for place in enumerate(grid):
        if place[1]:
            left &= _holding().get(place, 0)
    return left


def solutions(grid: Grid) -> Iterator[Grid]:
    """Yield every way to fill the empty cells, in order; none where the clues contradict."""
    left = _left(grid)
    return (full for index, full in enumerate(full_grids()) if left >> index & 1)


def _with(grid: Grid, cell: int, number: int) -> Grid:
    return (*grid[:cell], number, *grid[cell + 1 :])


def solve(grid: Grid) -> Grid | None:
    """Return the only solution of a grid; None where there is none, or more than one."""
    left = _left(grid)
    return full_grids()[left.bit_length() - 1] if left.bit_count() == 1 else None


def draw(rng: random.Random, difficulty: Difficulty = DEFAULT) -> Grid:
    """Draw one puzzle with exactly one solution.

    Raises: `UserError` where the dials leave (almost) none.
    """
    for _ in range(MAX_TRIES):
        grid, num_clues = rng.choice(full_grids()), SIZE * SIZE
        wanted = rng.randint(difficulty.min_clues, difficulty.max_clues)
        for cell in rng.sample(range(SIZE * SIZE), SIZE * SIZE):
            without = _with(grid, cell, 0)
            if num_clues > wanted and solve(without) is not None:
                grid, num_clues = without, num_clues - 1
        if num_clues == wanted:
            return grid
    raise UserError(f"no sudoku found in {MAX_TRIES} draws: widen {difficulty}")


def generate(rng: random.Random, difficulty: Difficulty = DEFAULT) -> Problem:
    """Draw one problem with its reference solution. Raises: `UserError` as `draw`."""
    return written(draw(rng, difficulty))


def written(grid: Grid) -> Problem:
    """Return the problem of a grid. Raises: `UserError` where it has not exactly one solution."""
    solved = solve(grid)
    if solved is None:
        raise UserError(f"the sudoku {show(grid)} has not exactly one solution")
    answer = show(solved)
    content = "".join(map(str, grid))
    return Problem(
        id=f"{NAME}-{hashlib.blake2b(content.encode(), digest_size=6).hexdigest()}",
        prompt="Fill the empty cells (0) so that each row, each column and each 2 by 2 box holds "
        f"1, 2, 3 and 4. The rows from top to bottom: {show(grid)}. Fill one cell a line.",
        answer=answer,
        task=NAME,
        metadata={
            "grid": list(grid),
            "difficulty": grid.count(0),
            "solution": "\n".join([*_steps(grid, solved), f"So the answer is {answer}."]),
        },
    )


def show(grid: Grid) -> str:
    """Write a grid in one line: `1 2 3 4 / 3 4 1 2 / ..`."""
    rows = [grid[start : start + SIZE] for start in range(0, SIZE * SIZE, SIZE)]
    return " / ".join(" ".join(map(str, row)) for row in rows)


def _steps(grid: Grid, solved: Grid) -> list[str]:
    """Return the cells in an order in which each is the surest one left."""
    steps: list[str] = []
    while 0 in grid:
        empty = (cell for cell, number in enumerate(grid) if not number)
        cell = min(empty, key=lambda cell: len(candidates(grid, cell)))
        grid = _with(grid, cell, solved[cell])
        steps.append(f"row {cell // SIZE + 1} column {cell % SIZE + 1} is {solved[cell]}")
    return steps


def problems(split: Split, seed: int, difficulty: Difficulty = DEFAULT) -> Iterator[Problem]:
    """Yield problems of a split without end, none twice, the same ones for the same arguments."""
    draws = draw_split(NAME, split, seed, lambda rng: draw(rng, difficulty), str)
    return map(written, draws)


def final_grid(text: str) -> Grid | None:
    """Return the full grid that a text ends in, None where there is none.

    It is what the text states as its answer, else its last four lines.
    """
    stated = final_statement(text)
    if stated is not None and (grid := _read(stated.strip("`$. \t\r\n"))):
        return grid
    lines = [line for line in text.splitlines() if line.strip()]
    return _read(" ".join(lines[-SIZE:])) or (_read(lines[-1]) if lines else None)


def _read(text: str) -> Grid | None:
    if len(text) > 400 or _GRID.fullmatch(text) is None:
        return None
    return tuple(int(sign) for sign in text if sign in "1234")


def _said(text: str) -> Mapping[int, set[int]]:
    """Return the numbers that lines of a text give each cell they speak of."""
    found: dict[int, set[int]] = {}
    for line in text.splitlines():
        if step := _STEP.fullmatch(line.strip()):
            cell = (int(step[1]) - 1) * SIZE + int(step[2]) - 1
            found.setdefault(cell, set()).add(int(step[3]))
    return found


def _grid_of(problem: Problem) -> Grid:
    return tuple(whole_numbers(problem, "grid", 0, SIZE, size=SIZE * SIZE))


def grade(problem: Problem, text: str) -> bool:
    """Return whether a text ends in the solved grid and every cell that it fills is right."""
    if len(text) > MAX_TEXT:
        return False
    solved = solve(_grid_of(problem))
    return solved is not None and final_grid(text) == solved and _is_right(text, solved)


def _is_right(text: str, solved: Grid) -> bool:
    return all(numbers == {solved[cell]} for cell, numbers in _said(text).items())


def optimal(problem: Problem, text: str) -> float | None:
    """Return the value of the beginning of a solution under perfect play from there on.

    `text` holds whole steps, one a line: 1.0 where every cell it fills is right, else 0.0. A text
    that states an answer has its grade as value. None where it cannot be read.
    """
    if len(text) > MAX_TEXT:
        return 0.0
    if grade(problem, text):
        return 1.0
    if final_statement(text) or final_grid(text) is not None:
        return 0.0
    solved = solve(_grid_of(problem))
    if not all(_STEP.fullmatch(line.strip()) for line in text.splitlines() if line.strip()):
        return None
    return 1.0 if solved is not None and _is_right(text, solved) else 0.0


def answer_of(problem: Problem, text: str) -> str | None:
    """Return the grid of a text in one line; None where there is none."""
    del problem
    grid = final_grid(text) if len(text) <= MAX_TEXT else None
    return None if grid is None else show(grid)


TASK = Task(NAME, problems, grade, answer_of, optimal=optimal)
