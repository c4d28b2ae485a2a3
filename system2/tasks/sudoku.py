"""Sudoku of 4 rows: fill a grid with 1 to 4, each once in every row, column and 2 by 2 box.

A generated problem has exactly one solution. Its reference solution fills one cell a line, a cell
that the others leave only one number for where there is one, and ends with the whole grid.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from system2.core import Problem, Split, Task, UserError
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


def solutions(grid: Grid) -> Iterator[Grid]:
    """Yield every way to fill the empty cells, in order; none where the clues contradict."""
    if any(number and number not in candidates(grid, cell) for cell, number in enumerate(grid)):
        return
    yield from _filled(grid)


def _filled(grid: Grid) -> Iterator[Grid]:
    empty = [cell for cell, number in enumerate(grid) if not number]
    if not empty:
        yield grid
        return
    cell = min(empty, key=lambda cell: len(candidates(grid, cell)))
    for number in candidates(grid, cell):
        yield from _filled(_with(grid, cell, number))


def _with(grid: Grid, cell: int, number: int) -> Grid:
    return (*grid[:cell], number, *grid[cell + 1 :])


@lru_cache(maxsize=1024)
def solve(grid: Grid) -> Grid | None:
    """Return the only solution of a grid; None where there is none, or more than one."""
    found = solutions(grid)
    first = next(found, None)
    return first if next(found, None) is None else None


def draw(rng: random.Random, difficulty: Difficulty = DEFAULT) -> Grid:
    """Draw one puzzle with exactly one solution.

    Raises: `UserError` where the dials leave (almost) none.
    """
    for _ in range(MAX_TRIES):
        grid = _full(rng)
        num_clues = rng.randint(difficulty.min_clues, difficulty.max_clues)
        cells = rng.sample(range(SIZE * SIZE), SIZE * SIZE)
        num_left = SIZE * SIZE
        for cell in cells:
            if num_left == num_clues:
                break
            without = _with(grid, cell, 0)
            if solve(without) is not None:
                grid, num_left = without, num_left - 1
        if num_left == num_clues:
            return grid
    raise UserError(f"no sudoku found in {MAX_TRIES} draws: widen {difficulty}")


def _full(rng: random.Random) -> Grid:
    """Draw a full grid, each of the 288 equally likely."""
    grids = _full_grids()
    return grids[rng.randrange(len(grids))]


@lru_cache(maxsize=1)
def _full_grids() -> tuple[Grid, ...]:
    return tuple(solutions((0,) * (SIZE * SIZE)))


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
    return tuple(map(int, problem.metadata["grid"]))


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
