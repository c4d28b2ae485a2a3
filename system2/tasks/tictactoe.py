"""Tic-tac-toe, solved: `moves`, `play`, `winner`, `value`, and the positions with one right move.

The functions are pure and are all that a game experiment needs; boards are those of
`system2.tasks.boards`. Positions that turn or mirror into one another share a split.
"""

import random
from collections.abc import Iterator
from functools import lru_cache

from system2.core import SPLITS, Problem, Split, UserError, derive_seed
from system2.tasks.boards import (
    EMPTY,
    Board,
    Game,
    Player,
    best_moves,
    board_task,
    empty_board,
    place,
    written,
)
from system2.tasks.splits import split_of

NAME = "tictactoe"
SIZE = 3
START = empty_board(SIZE)

_LINES = (
    *((row, row + 1, row + 2) for row in (0, 3, 6)),
    *((column, column + 3, column + 6) for column in (0, 1, 2)),
    (0, 4, 8),
    (2, 4, 6),
)
_TURN = tuple((SIZE - 1 - cell % SIZE) * SIZE + cell // SIZE for cell in range(SIZE * SIZE))
_MIRROR = tuple(cell // SIZE * SIZE + SIZE - 1 - cell % SIZE for cell in range(SIZE * SIZE))


def winner(board: Board) -> Player | None:
    """Return who has three in a row, None: nobody."""
    for a, b, c in _LINES:
        if board[a] == board[b] == board[c] != EMPTY:
            return "X" if board[a] == "X" else "O"
    return None


def moves(board: Board) -> tuple[int, ...]:
    """Return the cells that the player to move can take; none where the game is over."""
    if winner(board) is not None:
        return ()
    return tuple(cell for cell, sign in enumerate(board) if sign == EMPTY)


def play(board: Board, cell: int) -> Board:
    """Return the board after a move. Raises: `UserError` where it cannot be made."""
    if winner(board) is not None:
        raise UserError(f"{winner(board)} has won on {board}; no move can be made")
    return place(board, cell)


@lru_cache(maxsize=8192)
def value(board: Board) -> float:
    """Return what the mover reaches under perfect play: 1.0 a win, 0.5 a draw, 0.0 a loss."""
    if winner(board) is not None:  # whoever moved last has won
        return 0.0
    return max((1 - value(place(board, cell)) for cell in moves(board)), default=0.5)


GAME = Game(
    NAME,
    "Tic-tac-toe",
    "three of one's own in a row, a column or a diagonal win.",
    winner,
    value,
    sizes=range(SIZE, SIZE + 1),
    most_empty=SIZE * SIZE,
)


@lru_cache(maxsize=1)
def positions() -> tuple[Board, ...]:
    """Return every position of a game in which exactly one of several moves keeps the value."""
    seen, waiting = {START}, [START]
    for board in waiting:
        for cell in moves(board):
            if (after := place(board, cell)) not in seen:
                seen.add(after)
                waiting.append(after)
    return tuple(
        board for board in waiting if len(moves(board)) > 1 and len(best_moves(GAME, board)) == 1
    )


def images(board: Board) -> set[Board]:
    """Return the boards that a board can be turned and mirrored into, itself among them."""
    found: set[Board] = set()
    for _ in range(4):
        board = "".join(board[cell] for cell in _TURN)
        found |= {board, "".join(board[cell] for cell in _MIRROR)}
    return found


def problems(split: Split, seed: int) -> Iterator[Problem]:
    """Yield every position of a split once, in an order that the seed decides.

    Raises: `UserError` on an unknown split.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
    members = [board for board in positions() if split_of(min(images(board))) == split]
    random.Random(derive_seed(NAME, split, seed)).shuffle(members)
    return (written(GAME, board) for board in members)


TASK = board_task(GAME, problems)
