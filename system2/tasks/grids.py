"""Mazes as grids: cells, ways through them, and A* with the trace of what it did.

Cells are (x, y): columns from the left, rows from the top, counted from 0. The trace is
Searchformer's (arXiv 2402.14083, section 2): `create x y cG cH` when a cell gets onto the
frontier (again, where a shorter way to it was found), `close x y cG cH` when it is taken off, G
the steps from the start, H the Manhattan distance to the goal; then `plan x y` for each cell of
the way. One entry a line.
"""

import heapq
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Cell: TypeAlias = tuple[int, int]

MOVES: Mapping[str, Cell] = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}
"""What each move adds to (x, y)."""


@dataclass(frozen=True, slots=True)
class Maze:
    """A grid of `size` by `size` cells, some of them walls."""

    size: int
    start: Cell
    goal: Cell
    walls: frozenset[Cell]

    def is_free(self, cell: Cell) -> bool:
        """Return whether a cell lies in the grid and is no wall."""
        x, y = cell
        return 0 <= x < self.size and 0 <= y < self.size and cell not in self.walls

    def neighbours(self, cell: Cell) -> Iterator[tuple[str, Cell]]:
        """Yield (move, cell) for each move that can be made, in the order of `MOVES`."""
        for move, (x, y) in MOVES.items():
            reached = (cell[0] + x, cell[1] + y)
            if self.is_free(reached):
                yield move, reached


def distances(maze: Maze) -> dict[Cell, int]:
    """Return the fewest moves to the goal from every cell that it can be reached from."""
    found = {maze.goal: 0}
    ring = [maze.goal]
    size, walls, steps = maze.size, maze.walls, 0
    while ring:
        steps += 1
        around: list[Cell] = [
            cell
            for x, y in ring
            for cell in ((x, y - 1), (x, y + 1), (x - 1, y), (x + 1, y))
            if cell not in found
            and cell not in walls
            and 0 <= cell[0] < size
            and 0 <= cell[1] < size
        ]
        found.update((cell, steps) for cell in around)
        ring = list(dict.fromkeys(around))
    return found


@dataclass(frozen=True, slots=True)
class Searched:
    """What A* found: the moves of a shortest way (None: there is none) and its trace."""

    moves: tuple[str, ...] | None
    trace: tuple[str, ...]


def a_star(maze: Maze, rng: random.Random | None = None) -> Searched:
    """Search a shortest way with the Manhattan heuristic.

    Without `rng` the trace is always the same: ties go to the cell created first, neighbours are
    tried in the order of `MOVES`. With it neighbours are shuffled and ties decided at random.
    """
    steps, came = {maze.start: 0}, dict[Cell, tuple[Cell, str]]()
    closed: set[Cell] = set()
    trace = [_entry("create", maze, maze.start, 0)]
    frontier: list[tuple[int, float, int, Cell]] = [
        (_manhattan(maze, maze.start), 0.0, 0, maze.start)
    ]
    while frontier:
        _, _, _, at = heapq.heappop(frontier)
        if at in closed:  # it was created again with a shorter way
            continue
        closed.add(at)
        trace.append(_entry("close", maze, at, steps[at]))
        if at == maze.goal:
            moves = _way(came, at)
            return Searched(moves, (*trace, *_plan(maze.start, moves)))
        around = list(maze.neighbours(at))
        if rng is not None:
            rng.shuffle(around)
        for move, cell in around:
            cost = steps[at] + 1
            if cell in closed or cost >= steps.get(cell, cost + 1):
                continue
            steps[cell], came[cell] = cost, (at, move)
            trace.append(_entry("create", maze, cell, cost))
            tie = 0.0 if rng is None else rng.random()
            heapq.heappush(frontier, (cost + _manhattan(maze, cell), tie, len(trace), cell))
    return Searched(None, tuple(trace))


def _manhattan(maze: Maze, cell: Cell) -> int:
    return abs(cell[0] - maze.goal[0]) + abs(cell[1] - maze.goal[1])


def _entry(event: str, maze: Maze, cell: Cell, cost: int) -> str:
    return f"{event} {cell[0]} {cell[1]} c{cost} c{_manhattan(maze, cell)}"


def _way(came: Mapping[Cell, tuple[Cell, str]], at: Cell) -> tuple[str, ...]:
    moves: list[str] = []
    while at in came:
        at, move = came[at]
        moves.append(move)
    return tuple(reversed(moves))


def _plan(start: Cell, moves: Sequence[str]) -> list[str]:
    return [f"plan {x} {y}" for x, y in (start, *walk(start, moves))]


def walk(start: Cell, moves: Sequence[str]) -> Iterator[Cell]:
    """Yield the cell after each move, walls or not."""
    x, y = start
    for move in moves:
        x, y = x + MOVES[move][0], y + MOVES[move][1]
        yield x, y
