"""Board games of X and O on a square of cells: what tic-tac-toe and Hex have in common.

A board is a text, a sign a cell, row by row from the top: `X`, `O` or `.`; X moves first, so that
the board says who is to move. A cell's name is its column's letter and its row's number: `a1` is
at the top left. A problem is a position in which exactly one move keeps the best result that the
mover can reach; the answer is that move, or any that keeps it where others make problems.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isqrt
from typing import Literal, TypeAlias

from system2.core import Problem, Task, UserError
from system2.tasks import asked
from system2.tasks.statements import final_statement

Board: TypeAlias = str
Player: TypeAlias = Literal["X", "O"]

EMPTY = "."
MAX_TEXT = 200_000
"""Characters of the longest completion that is read; a longer one is refused."""

_NAME = re.compile(r"([a-z])\s?([1-9][0-9]?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Game:
    """The rules of a game and the truth about its positions.

    `winner(board)` is who has won, None: nobody has (yet). `value(board)` is what the player to
    move reaches under perfect play of both: 1.0 a win, 0.5 a draw, 0.0 a loss. A board has one
    of `sizes` rows; with more than `most_empty` empty cells it is out of the solver's reach.
    """

    name: str
    title: str
    rules: str
    winner: Callable[[Board], Player | None]
    value: Callable[[Board], float]
    sizes: range
    most_empty: int


def empty_board(size: int) -> Board:
    """Return a board of `size` rows and columns without a stone."""
    return EMPTY * size * size


def size_of(board: Board) -> int:
    """Return the number of rows, which is that of columns."""
    return isqrt(len(board))


def mover(board: Board) -> Player:
    """Return who is to move."""
    return "X" if board.count("X") == board.count("O") else "O"


def place(board: Board, cell: int) -> Board:
    """Return the board after the mover has taken a cell.

    Raises: `UserError` where the cell is taken or there is none.
    """
    if not 0 <= cell < len(board) or board[cell] != EMPTY:
        raise UserError(f"cell {cell} of {board} cannot be taken; choose an empty one")
    return f"{board[:cell]}{mover(board)}{board[cell + 1 :]}"


def checked(game: Game, board: Board) -> Board:
    """Return a board of a game, on which X and O have moved in turn and the solver is quick.

    Raises: `UserError` that says what is wrong with another.
    """
    if size_of(board) ** 2 != len(board) or size_of(board) not in game.sizes:
        rows = f"{game.sizes[0]} to {game.sizes[-1]}"
        raise UserError(f"{board[:80]!r} is no board of {game.title}; it needs {rows} rows")
    if set(board) - set("XO."):
        raise UserError(f"{board!r} is no board of {game.title}; it needs X, O and '.'")
    if board.count("X") - board.count("O") not in (0, 1):
        raise UserError(f"{board!r} is no board of {game.title}; X and O move in turn, X first")
    if board.count(EMPTY) > game.most_empty:
        raise UserError(
            f"{board!r} has more than {game.most_empty} empty cells; give a later position"
        )
    return board


def cell_name(cell: int, size: int) -> str:
    """Return the name of a cell, as "b3"."""
    return f"{chr(ord('a') + cell % size)}{cell // size + 1}"


def cell_of(name: str, size: int) -> int | None:
    """Return the cell of a name, None where the board has none of that name."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    column, row = ord(found[1].lower()) - ord("a"), int(found[2]) - 1
    return row * size + column if column < size and row < size else None


def best_moves(game: Game, board: Board) -> list[int]:
    """Return the moves that keep the value of a position, in order; none where it is over."""
    if game.winner(board) is not None:
        return []
    value = game.value(board)
    cells = [cell for cell, sign in enumerate(board) if sign == EMPTY]
    return [cell for cell in cells if 1 - game.value(place(board, cell)) == value]


def written(game: Game, board: Board) -> Problem:
    """Return the problem of a position. Raises: `UserError` where the game is over."""
    size, player, best = size_of(checked(game, board)), mover(board), best_moves(game, board)
    if not best:
        raise UserError(f"nobody is to move on {board}: the game is over")
    rows = [" ".join(board[start : start + size]) for start in range(0, len(board), size)]
    answer = cell_name(best[0], size)
    return Problem(
        id=f"{game.name}-{hashlib.blake2b(board.encode(), digest_size=6).hexdigest()}",
        prompt=f"{game.title}: {game.rules} A cell is its column, a letter from the left, and "
        f"its row, a number from the top. The rows from the top: {' / '.join(rows)}. "
        f"{player} is to move. Which move keeps the best result that {player} can reach?",
        answer=answer,
        task=game.name,
        metadata={
            "board": board,
            "player": player,
            "value": game.value(board),
            "best": [cell_name(cell, size) for cell in best],
            "difficulty": board.count(EMPTY),
            "solution": "\n".join([*_line_of_play(game, board), f"So the answer is {answer}."]),
        },
    )


def _line_of_play(game: Game, board: Board) -> Iterator[str]:
    """Yield a game's moves to its end, both sides playing the first of their best."""
    while best := best_moves(game, board):
        yield f"{mover(board)} {cell_name(best[0], size_of(board))}"
        board = place(board, best[0])
    winner = game.winner(board)
    yield f"{winner} wins" if winner else "nobody wins"


def final_move(problem: Problem, text: str) -> int | None:
    """Return the cell that a text ends in, None where it names none of the board.

    It is what the text states as its answer, else its last line.
    """
    if len(text) > MAX_TEXT:
        return None
    stated = final_statement(text)
    if stated is None:
        stated = text.strip().rpartition("\n")[2]
    return cell_of(stated.strip(" \t\r\n`.,;*$"), size_of(asked.text(problem, "board")))


def answer_of(problem: Problem, text: str) -> str | None:
    """Return the name of the cell that a text ends in; None where there is none."""
    cell = final_move(problem, text)
    return None if cell is None else cell_name(cell, size_of(asked.text(problem, "board")))


def board_task(game: Game, problems: "Callable[..., Iterator[Problem]]") -> Task:
    """Return the task of a game: a move is right if it is legal and keeps the value."""

    def grade(problem: Problem, text: str) -> bool:
        board, cell = checked(game, asked.text(problem, "board")), final_move(problem, text)
        return cell is not None and cell in best_moves(game, board)

    return Task(game.name, problems, grade, answer_of)
