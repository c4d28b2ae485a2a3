"""Mazes: go from start to goal by moves up, down, left and right, not through walls.

Mazes as in Searchformer (arXiv 2402.14083, section 4): a share of walls, a start and a goal at
random whose shortest way is not short (we draw the start among the cells that are far enough, they
draw whole mazes again). A solution gives one move a line with the cell that it reaches,
then all moves. Any way that arrives is right, in `maze_shortest` only a shortest one. The
metadata holds the gold trace of A*; `trace_of` gives others.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from system2.core import Problem, Split, Task, UserError, derive_seed
from system2.tasks.asked import whole_number, whole_numbers
from system2.tasks.grids import MOVES, Cell, Maze, a_star, distances, walk
from system2.tasks.splits import draw_split
from system2.tasks.statements import final_statement

NAME = "maze"
MAX_TEXT = 200_000
"""Characters of the longest completion that is read; a longer one is refused."""
MAX_TRIES = 10_000
"""Draws without a way of the right length after which the dials are taken to admit none."""
MAX_SIZE = 64

_WORD = re.compile(r"[^\s,;>→-]+")
_STEP = re.compile(
    r"(?:\d+[.):]\s+|[-*]\s+)?(up|down|left|right)(?:\s+to)?(?:\s+\(?(\d{1,9})[\s,]+(\d{1,9})\)?)?\.?",
    re.IGNORECASE,
)
_MOVE_OF = {move[0]: move for move in MOVES} | {move: move for move in MOVES}


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The dials of generated mazes.

    A maze has n rows and columns, n one of `sizes` (each entry equally likely), of whose cells a
    share between `min_walls` and `max_walls` are walls. The shortest way has at least
    `min_moves` moves (None: n). With `shortest` only a shortest way is an answer.
    Raises: `UserError` on dials that no maze can satisfy.
    """

    sizes: tuple[int, ...] = (4, 5, 6)
    min_walls: float = 0.3
    max_walls: float = 0.5
    min_moves: int | None = None
    shortest: bool = False

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 2 or max(self.sizes) > MAX_SIZE:
            raise UserError(f"sizes {self.sizes} must hold whole numbers in 2..{MAX_SIZE}")
        if not 0 <= self.min_walls <= self.max_walls < 1:
            raise UserError(
                f"min_walls {self.min_walls} and max_walls {self.max_walls} must be a range "
                "within [0, 1)"
            )
        if self.min_moves is not None and self.min_moves < 1:
            raise UserError(f"min_moves is {self.min_moves}; it must be at least 1")


DEFAULT = Difficulty()
SHORTEST = Difficulty(shortest=True)


def draw(rng: random.Random, difficulty: Difficulty = DEFAULT) -> Maze:
    """Draw one maze: walls and goal first, then the start among the cells that are far enough.

    Raises: `UserError` where the dials leave (almost) none.
    """
    for _ in range(MAX_TRIES):
        size = rng.choice(difficulty.sizes)
        share = rng.uniform(difficulty.min_walls, difficulty.max_walls)
        num_walls = min(round(share * size * size), size * size - 2)
        goal, *walls = (
            (at % size, at // size) for at in rng.sample(range(size * size), num_walls + 1)
        )
        maze = Maze(size, goal, goal, frozenset(walls))
        fewest = difficulty.min_moves or size
        if far := [cell for cell, moves in distances(maze).items() if moves >= fewest]:
            return replace(maze, start=rng.choice(far))
    raise UserError(f"no maze found in {MAX_TRIES} draws: widen {difficulty}")


def generate(rng: random.Random, difficulty: Difficulty = DEFAULT) -> Problem:
    """Draw one problem with its reference solution. Raises: `UserError` as `draw`."""
    return written(draw(rng, difficulty), shortest=difficulty.shortest)


def written(maze: Maze, *, shortest: bool = False) -> Problem:
    """Return the problem of a maze. Raises: `UserError` where no way leads to the goal."""
    found = a_star(maze)
    if found.moves is None:
        raise UserError(f"no way leads from {maze.start} to {maze.goal} in this maze")
    answer = " ".join(found.moves)
    places = zip(found.moves, walk(maze.start, found.moves), strict=True)
    steps = [f"{move} to {x} {y}" for move, (x, y) in places]
    walls = sorted(maze.walls, key=lambda cell: (cell[1], cell[0]))
    listed = ", ".join(f"{x} {y}" for x, y in walls) or "none"
    content = _content(maze)
    last = maze.size - 1
    return Problem(
        id=f"{NAME}-{hashlib.blake2b(content.encode(), digest_size=6).hexdigest()}",
        prompt=f"A maze has columns 0 to {last} from left to right and rows 0 to {last} from top "
        f"to bottom; a cell is its column and row. Walls: {listed}. Go from {maze.start[0]} "
        f"{maze.start[1]} to {maze.goal[0]} {maze.goal[1]} by moves up, down, left and right"
        f"{', as few as can be' if shortest else ''}, one move a line.",
        answer=answer,
        task=NAME,
        metadata={
            "size": maze.size,
            "start": list(maze.start),
            "goal": list(maze.goal),
            "walls": [list(cell) for cell in walls],
            "shortest": shortest,
            "optimal_moves": len(found.moves),
            "difficulty": len(found.moves),
            "solution": "\n".join([*steps, f"So the answer is {answer}."]),
            "trace": "\n".join(found.trace),
        },
    )


def _content(maze: Maze) -> str:
    """What makes two problems the same."""
    return f"{maze.size} {maze.start} {maze.goal} {sorted(maze.walls)}"


def problems(split: Split, seed: int, difficulty: Difficulty = DEFAULT) -> Iterator[Problem]:
    """Yield problems of a split without end, none twice, the same ones for the same arguments."""
    draws = draw_split(NAME, split, seed, lambda rng: draw(rng, difficulty), _content)
    return (written(maze, shortest=difficulty.shortest) for maze in draws)


def maze_of(problem: Problem) -> Maze:
    """Return the maze that a problem's metadata describes.

    Raises: `UserError` where it describes none.
    """
    size = whole_number(problem, "size", 2, MAX_SIZE)
    start, goal = (whole_numbers(problem, name, 0, size - 1, size=2) for name in ("start", "goal"))
    cells: object = problem.metadata.get("walls")
    walls: set[Cell] = set()
    for cell in cast("list[Any]", cells) if isinstance(cells, list) else [None]:
        match cell:
            case [int(x), int(y)]:
                walls.add((x, y))
            case _:
                raise UserError(f'problem {problem.id!r}: its "walls" are no list of cells [x, y]')
    return Maze(size, (start[0], start[1]), (goal[0], goal[1]), frozenset(walls))


def trace_of(problem: Problem, seed: int | None = None) -> str:
    """Return a trace of A*, one entry a line; None: the gold one, a seed: one of many."""
    rng = None if seed is None else random.Random(derive_seed(NAME, "trace", problem.id, seed))
    return "\n".join(a_star(maze_of(problem), rng).trace)


def plan_of(text: str) -> tuple[str, ...] | None:
    """Return the moves that a text ends in, None where it states none.

    They are what it states as its answer (words, or letters as in "RRD"), else its steps, if all
    its lines are steps.
    """
    stated = final_statement(text)
    if stated is not None:
        return _moves(stated)
    steps = _steps(text)
    if steps is not None:
        return tuple(move for move, _ in steps) or None
    return _moves(text.strip().rpartition("\n")[2])


def _moves(stated: str) -> tuple[str, ...] | None:
    words = _WORD.findall(stated.strip(" \t\r\n`.,;*$").lower())
    if len(words) == 1 and words[0] not in _MOVE_OF:
        words = list(words[0])
    moves = tuple(_MOVE_OF.get(word, "") for word in words)
    return moves if moves and all(moves) else None


def _steps(text: str) -> list[tuple[str, Cell | None]] | None:
    """Return the steps of a text, each with the cell it says it reaches; None: it is no steps."""
    read = [_STEP.fullmatch(line.strip()) for line in text.splitlines() if line.strip()]
    found = [match for match in read if match is not None]
    return [_step(match) for match in found] if len(found) == len(read) else None


def _step(found: re.Match[str]) -> tuple[str, Cell | None]:
    cell = None if found[2] is None else (int(found[2]), int(found[3]))
    return found[1].lower(), cell


def _end(maze: Maze, steps: Sequence[tuple[str, Cell | None]]) -> Cell | None:
    """Return where steps lead, None where one leaves the free cells or misnames its cell."""
    at = maze.start
    for (_, said), cell in zip(steps, walk(maze.start, [m for m, _ in steps]), strict=True):
        if not maze.is_free(cell) or said not in (None, cell):
            return None
        at = cell
    return at


def _said_steps(text: str) -> list[tuple[str, Cell | None]]:
    """Return the steps among the lines of a text."""
    read = (_STEP.fullmatch(line.strip()) for line in text.splitlines())
    return [_step(match) for match in read if match is not None]


def grade(problem: Problem, text: str) -> bool:
    """Return whether a text ends in moves from start to goal and its steps can be made.

    Where the problem asks for it, the moves have to be as few as can be.
    """
    if len(text) > MAX_TEXT:
        return False
    maze, moves = maze_of(problem), plan_of(text)
    if moves is None or _end(maze, [(move, None) for move in moves]) != maze.goal:
        return False
    if problem.metadata.get("shortest") and not is_optimal(problem, text):
        return False
    return _end(maze, _said_steps(text)) is not None


def is_optimal(problem: Problem, text: str) -> bool:
    """Return whether the moves of a text lead from start to goal and none could be saved."""
    maze, moves = maze_of(problem), plan_of(text) if len(text) <= MAX_TEXT else None
    if moves is None or _end(maze, [(move, None) for move in moves]) != maze.goal:
        return False
    return len(moves) == distances(maze).get(maze.start)


def optimal(problem: Problem, text: str) -> float | None:
    """Return the value of the beginning of a solution under perfect play from there on.

    `text` holds whole steps, one a line. 1.0 where they can go on to the goal (in as few moves as
    can be, where that is asked), 0.0 where a step goes through a wall, out of the grid or to
    another cell than it says. A text that ends in all its moves has its grade as value. None
    where it cannot be read.
    """
    if len(text) > MAX_TEXT:
        return 0.0
    if grade(problem, text):
        return 1.0
    steps, maze = _steps(text), maze_of(problem)
    if steps is None:
        return None if plan_of(text) is None and not final_statement(text) else 0.0
    at, to_goal = _end(maze, steps), distances(maze)
    if at is None or at not in to_goal:
        return 0.0
    fewest = to_goal.get(maze.start, 0)
    is_lost = problem.metadata.get("shortest") and len(steps) + to_goal[at] > fewest
    return 0.0 if is_lost else 1.0


def answer_of(problem: Problem, text: str) -> str | None:
    """Return the moves of a text as words; None where there are none."""
    del problem
    moves = plan_of(text) if len(text) <= MAX_TEXT else None
    return None if moves is None else " ".join(moves)


TASK = Task(NAME, problems, grade, answer_of, optimal=optimal)
TASK_SHORTEST = Task(
    "maze_shortest", partial(problems, difficulty=SHORTEST), grade, answer_of, optimal=optimal
)
