"""Mazes: A* against breadth first, traces that say what was done, plans judged exactly."""

import itertools
import random
import time
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import Problem, UserError
from system2.tasks import maze
from system2.tasks.grids import Cell, Maze, a_star
from system2.tasks.maze import Difficulty, generate, is_optimal, maze_of, trace_of, written

seeds = st.integers(0, 2**60)
AROUND = {"up": (0, -1), "down": (0, 1), "left": (-1, 0), "right": (1, 0)}

# #.S
# ...
# G#.
SMALL = Maze(3, (2, 0), (0, 2), frozenset({(0, 0), (1, 2)}))
PROBLEM = written(SMALL)


def fewest(grid: Maze) -> int | None:
    """The length of a shortest way, by a plain search of our own."""
    waiting, seen = deque([(grid.start, 0)]), {grid.start}
    while waiting:
        (x, y), count = waiting.popleft()
        if (x, y) == grid.goal:
            return count
        for dx, dy in AROUND.values():
            cell = (x + dx, y + dy)
            inside = 0 <= cell[0] < grid.size and 0 <= cell[1] < grid.size
            if inside and cell not in grid.walls and cell not in seen:
                seen.add(cell)
                waiting.append((cell, count + 1))
    return None


@st.composite
def mazes(draw: st.DrawFn) -> Maze:
    size = draw(st.integers(2, 7))
    cells = [(x, y) for x in range(size) for y in range(size)]
    start, goal, *rest = draw(st.permutations(cells))
    return Maze(size, start, goal, frozenset(rest[: draw(st.integers(0, len(rest)))]))


@given(mazes(), st.none() | seeds)
@settings(max_examples=80)
def test_a_star_finds_a_shortest_way(grid: Maze, seed: int | None) -> None:
    found = a_star(grid, None if seed is None else random.Random(seed))
    assert (None if found.moves is None else len(found.moves)) == fewest(grid)
    check_trace(grid, found.trace)


def check_trace(grid: Maze, trace: tuple[str, ...]) -> None:
    """Assert that a trace is one of A*: each cell closed once, cheapest first, after its create."""
    open_cost: dict[Cell, int] = {}
    closed: dict[Cell, int] = {}
    plan: list[Cell] = []
    last = 0
    for entry in trace:
        event, *words = entry.split()
        cell = (int(words[0]), int(words[1]))
        assert cell not in grid.walls
        if event == "plan":
            plan.append(cell)
            continue
        cost, ahead = (int(word.removeprefix("c")) for word in words[2:])
        assert ahead == abs(cell[0] - grid.goal[0]) + abs(cell[1] - grid.goal[1])
        assert cell not in closed
        if event == "create":
            assert cost < open_cost.get(cell, cost + 1)
            near = [abs(cell[0] - x) + abs(cell[1] - y) == 1 for x, y in closed]
            assert any(near) or cell == grid.start
            open_cost[cell] = cost
        else:
            assert event == "close"
            assert cost == open_cost[cell]
            assert cost + ahead >= last
            last = cost + ahead
            closed[cell] = cost
    assert trace[0] == f"create {grid.start[0]} {grid.start[1]} c0 " + trace[0].split()[-1]
    if fewest(grid) is None:
        assert not plan
        return
    assert [plan[0], plan[-1]] == [grid.start, grid.goal]
    assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in itertools.pairwise(plan))
    assert len(plan) - 1 == fewest(grid)


@given(seeds)
@settings(max_examples=30)
def test_the_reference_solution_is_a_shortest_one(seed: int) -> None:
    problem = generate(random.Random(seed))
    solution = problem.metadata["solution"]
    assert maze.grade(problem, solution)
    assert is_optimal(problem, solution)
    assert problem.metadata["optimal_moves"] == fewest(maze_of(problem))
    assert problem.metadata["optimal_moves"] >= problem.metadata["size"]
    assert problem.metadata["trace"] == trace_of(problem)
    lines = solution.split("\n")
    for count in range(len(lines) + 1):
        assert maze.optimal(problem, "\n".join(lines[:count])) == 1.0
    assert maze.grade(problem, "\n".join(lines[:-1]))


def test_traces_by_seed_differ_and_repeat() -> None:
    problem = generate(random.Random(5), Difficulty(sizes=(7,)))
    traces = {trace_of(problem, seed) for seed in range(20)}
    assert len(traces) > 5
    assert trace_of(problem, 3) == trace_of(problem, 3)
    assert trace_of(problem) == trace_of(problem)


@pytest.mark.parametrize(
    ("text", "right", "value"),
    [
        ("down left left down", True, 1.0),
        ("So the answer is down left left down.", True, 1.0),
        ("DLLD", True, 1.0),
        ("Answer: d, l, l, d", True, 1.0),
        ("<answer>down → left → left → down</answer>", True, 1.0),
        ("left down left down", True, 1.0),
        ("down\nleft\nleft\ndown", True, 1.0),
        ("1. down\n2. left\n3. left\n4. down", True, 1.0),
        ("down to 2 1\nleft to (1, 1)\nleft to 0 1\ndown to 0 2", True, 1.0),
        ("down up down left left down", True, 1.0),
        ("down to 2 1\nleft to 1 1", False, 1.0),
        ("down\nup", False, 1.0),
        ("down to 2 2", False, 0.0),  # says where it does not lead
        ("left left", False, 0.0),  # into the wall
        ("left\nleft", False, 0.0),
        ("up", False, 0.0),
        ("down left left", False, 0.0),
        ("down left left down up", False, 0.0),
        ("left to 0 0\nSo the answer is down left left down.", False, 0.0),
        ("So the answer is left.", False, 0.0),
        ("", False, 1.0),
        ("I go round the wall.", False, None),
        ("down to 2 1\nand then", False, None),
        ("So the answer is north.", False, 0.0),
        ("down left left down" * 10**5, False, 0.0),
        ("D" * 10**5, False, 0.0),
        ("down to 999999999 999999999", False, 0.0),
        ("up\n" * 60_000, False, 0.0),
    ],
)
def test_texts(text: str, right: bool, value: float | None) -> None:
    start = time.process_time()
    assert maze.grade(PROBLEM, text) is right
    assert maze.optimal(PROBLEM, text) == value
    assert time.process_time() - start < 2


def test_a_detour_is_right_but_not_optimal() -> None:
    detour = "down up down left left down"
    strict = written(SMALL, shortest=True)
    assert maze.grade(PROBLEM, detour)
    assert not is_optimal(PROBLEM, detour)
    assert not maze.grade(strict, detour)
    assert maze.grade(strict, "left down left down")
    assert maze.optimal(strict, "down\nup") == 0.0
    assert maze.optimal(strict, "down") == 1.0
    assert not is_optimal(PROBLEM, "left left")
    assert "as few as can be" in strict.prompt


def test_a_maze_without_a_way_is_refused() -> None:
    with pytest.raises(UserError, match="no way"):
        written(Maze(2, (0, 0), (1, 1), frozenset({(0, 1), (1, 0)})))


def test_dials() -> None:
    found: list[Problem] = [
        generate(random.Random(seed), Difficulty((3, 8), 0.0, 0.1, 2)) for seed in range(20)
    ]
    assert {problem.metadata["size"] for problem in found} == {3, 8}
    for problem in found:
        share = len(problem.metadata["walls"]) / problem.metadata["size"] ** 2
        assert share <= 0.12
    for wrong in (
        {"sizes": ()},
        {"sizes": (1,)},
        {"sizes": (65,)},
        {"min_walls": 0.5, "max_walls": 0.4},
        {"max_walls": 1.0},
        {"min_moves": 0},
    ):
        with pytest.raises(UserError):
            Difficulty(**wrong)
    with pytest.raises(UserError, match="no maze found"):
        generate(random.Random(0), Difficulty(sizes=(2,), min_moves=9))
