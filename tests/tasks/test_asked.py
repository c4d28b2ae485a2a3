"""A problem of a file may hold anything: what a task cannot use is refused by name."""

from typing import Any

import pytest

from system2.core import Problem, UserError
from system2.tasks import TASKS

MAZE = {"size": 3, "start": [0, 0], "goal": [2, 2], "walls": [[1, 1]]}
HAND = {"numbers": [3, 5], "target": 8}


@pytest.mark.parametrize(
    ("task", "metadata", "named"),
    [
        ("countdown", {}, "numbers"),
        ("countdown", {"numbers": [3, "5"], "target": 8}, "numbers"),
        ("countdown", {"numbers": [3, True], "target": 8}, "numbers"),
        ("countdown", {"numbers": [3, 10**13], "target": 8}, "numbers"),
        ("countdown", HAND | {"target": None}, "target"),
        ("game24", {"numbers": 5}, "numbers"),
        ("game24", {"numbers": [1, 2, 3, 4.5], "target": 24}, "numbers"),
        ("maze", {}, "size"),
        ("maze", MAZE | {"size": 10**9}, "size"),
        ("maze", MAZE | {"start": [0, 3]}, "start"),
        ("maze", MAZE | {"goal": [0]}, "goal"),
        ("maze", MAZE | {"walls": None}, "walls"),
        ("maze", MAZE | {"walls": [[1]]}, "walls"),
        ("maze", MAZE | {"walls": [[1, [2]]]}, "walls"),
        ("sudoku", {"grid": [0] * 15}, "grid"),
        ("sudoku", {"grid": [5] * 16}, "grid"),
        ("sudoku", {"grid": "0" * 16}, "grid"),
        ("tictactoe", {"board": 3}, "board"),
        ("tictactoe", {"board": "X"}, "board"),
        ("tictactoe", {"board": "." * 16}, "board"),
        ("hex", {"board": "XX......."}, "board"),
        ("hex", {"board": "." * 25}, "more than 16 empty"),
        ("hex", {}, "board"),
    ],
)
def test_metadata_that_asks_nothing_is_refused(
    task: str, metadata: dict[str, Any], named: str
) -> None:
    found, problem = TASKS[task], Problem("p-1", "", "", task, metadata)
    with pytest.raises(UserError, match=named):
        _ = found.grade(problem, "a1")
    if found.optimal is not None:
        with pytest.raises(UserError, match=named):
            _ = found.optimal(problem, "1 + 1 = 2")


def test_metadata_that_is_enough_will_do() -> None:
    assert TASKS["countdown"].grade(Problem("p", "", "", "countdown", HAND), "3 + 5")
    assert TASKS["maze"].grade(Problem("p", "", "", "maze", MAZE), "down down right right")
    unsolvable = MAZE | {"walls": [[1, 2], [2, 1]], "shortest": True}
    maze = Problem("p", "", "", "maze", unsolvable)
    assert not TASKS["maze"].grade(maze, "down down right right")
    assert TASKS["maze"].optimal is not None
    assert TASKS["maze"].optimal(maze, "") == 0.0
    sudoku = Problem("p", "", "", "sudoku", {"grid": [0] * 16})
    assert not TASKS["sudoku"].grade(sudoku, "1234 3412 2143 4321")
