"""Tasks: sources of problems, and the truth about their answers."""

from system2.core import Task, UserError
from system2.tasks import (
    countdown,
    game24,
    gsm8k,
    hendrycks_math,
    hex,
    maze,
    reasoning_gym,
    sudoku,
    tictactoe,
    word_problems,
)

TASKS: dict[str, Task] = {
    "word_problems": word_problems.TASK,
    "countdown": countdown.TASK,
    "countdown4": countdown.TASK_FOUR,
    "game24": game24.TASK,
    "game24_file": game24.TASK_FILE,
    "maze": maze.TASK,
    "maze_shortest": maze.TASK_SHORTEST,
    "sudoku": sudoku.TASK,
    "tictactoe": tictactoe.TASK,
    "hex": hex.TASK,
    "gsm8k": gsm8k.TASK,
    "math": hendrycks_math.TASK,
    "math500": hendrycks_math.TASK_500,
}
"""Every task by name; any dataset of reasoning-gym comes besides, as "reasoning_gym/NAME"."""


def find_task(name: str) -> Task:
    """Return the task of a name. Raises: `UserError` on an unknown name."""
    if name in TASKS:
        return TASKS[name]
    if name.startswith(reasoning_gym.PREFIX):
        return reasoning_gym.reasoning_gym_task(name.removeprefix(reasoning_gym.PREFIX))
    raise UserError(
        f"unknown task {name!r}; choose one of {', '.join(TASKS)} or {reasoning_gym.PREFIX}NAME"
    )
