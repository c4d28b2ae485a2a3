"""Hex on boards of 3 to 5 rows, solved: `moves`, `play`, `winner`, `value`, and a task of moves.

X joins the top row to the bottom row, O the left column to the right one. On a full board exactly
one of them has. The functions are pure and are all that a game experiment needs; boards are those
of `system2.tasks.boards`. The solver is a search for a winning reply with a memory of positions:
at once for 3 rows and for late positions, seconds for an empty board of 4 rows; an empty board of
5 rows is out of its reach. Problems are positions late enough in which exactly one move wins.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from system2.core import Problem, Split, UserError
from system2.tasks.boards import (
    EMPTY,
    Board,
    Game,
    Player,
    board_task,
    mover,
    place,
    size_of,
    written,
)
from system2.tasks.splits import draw_split

NAME = "hex"
SIZES = range(2, 6)
MOST_EMPTY = 14
"""Empty cells of the earliest position that the dials may ask for."""
MAX_TRIES = 10_000
"""Draws without a position after which the dials are taken to admit none."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The dials of generated positions.

    A board has n rows, n one of `sizes` (each entry equally likely), and between `min_empty` and
    `max_empty` empty cells.
    Raises: `UserError` on a dial out of its range.
    """

    sizes: tuple[int, ...] = (3, 4, 5)
    min_empty: int = 4
    max_empty: int = 9

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 3 or max(self.sizes) > SIZES[-1]:
            raise UserError(f"sizes {self.sizes} must hold whole numbers in 3..{SIZES[-1]}")
        if not 2 <= self.min_empty <= self.max_empty <= MOST_EMPTY:
            raise UserError(
                f"min_empty {self.min_empty} and max_empty {self.max_empty} must be a range "
                f"within 2..{MOST_EMPTY}"
            )
        if self.min_empty > min(self.sizes) ** 2:
            raise UserError(
                f"min_empty is {self.min_empty}; a board of {min(self.sizes)} rows has fewer cells"
            )


DEFAULT = Difficulty()


@dataclass(frozen=True, slots=True)
class _Edges:
    """The masks of a board of one size: bit i is cell i."""

    size: int
    top: int
    bottom: int
    left: int
    right: int


@lru_cache(maxsize=8)
def _edges(size: int) -> _Edges:
    if size not in SIZES:
        raise UserError(f"a Hex board of {size} rows; it must have {SIZES[0]} to {SIZES[-1]}")
    row, column = (1 << size) - 1, sum(1 << size * at for at in range(size))
    return _Edges(size, row, row << size * (size - 1), column, column << (size - 1))


def _touching(stones: int, edges: _Edges) -> int:
    """Return the cells that touch one of the stones, some of them beyond the last row."""
    # left and below left leave the first column, right and above right the last one
    to_left, to_right, size = stones & ~edges.left, stones & ~edges.right, edges.size
    around = stones << size | stones >> size | to_left >> 1 | to_right << 1
    return around | to_left << (size - 1) | to_right >> (size - 1)


def _linked(stones: int, side: int, edges: _Edges) -> int:
    """Return the stones that are linked to a side by stones."""
    linked, new = 0, stones & side
    while new:
        linked |= new
        new = _touching(new, edges) & stones & ~linked
    return linked


def _joins(stones: int, edges: _Edges, *, is_x: bool) -> bool:
    """Return whether stones join the two sides of their player."""
    start, end = (edges.top, edges.bottom) if is_x else (edges.left, edges.right)
    return bool(_linked(stones, start, edges) & end)


def _joining(stones: int, edges: _Edges, *, is_x: bool) -> int:
    """Return the cells that would each join the two sides, of those without a stone."""
    start, end = (edges.top, edges.bottom) if is_x else (edges.left, edges.right)
    from_start = _touching(_linked(stones, start, edges), edges) | start
    from_end = _touching(_linked(stones, end, edges), edges) | end
    return from_start & from_end & ~stones


def _stones(board: Board, player: Player) -> int:
    return sum(1 << cell for cell, sign in enumerate(board) if sign == player)


def winner(board: Board) -> Player | None:
    """Return who has joined their two sides, None: nobody yet. Raises: `UserError` on a size."""
    edges = _edges(size_of(board))
    if _joins(_stones(board, "X"), edges, is_x=True):
        return "X"
    return "O" if _joins(_stones(board, "O"), edges, is_x=False) else None


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


def value(board: Board) -> float:
    """Return what the mover reaches under perfect play: 1.0 a win, 0.0 a loss (never a draw)."""
    if winner(board) is not None:  # whoever moved last has won
        return 0.0
    is_x = mover(board) == "X"
    x, o = _stones(board, "X"), _stones(board, "O")
    own, other = (x, o) if is_x else (o, x)
    return 1.0 if _wins(size_of(board), own, other, is_x) else 0.0


@lru_cache(maxsize=1 << 18)
def _wins(size: int, own: int, other: int, is_x: bool) -> bool:
    """Return whether the mover wins a position in which nobody has won yet."""
    edges = _edges(size)
    empty = (1 << size * size) - 1 & ~(own | other)
    if not _joins(own | empty, edges, is_x=is_x):
        return False
    if _joining(own, edges, is_x=is_x) & empty:
        return True
    threats = _joining(other, edges, is_x=not is_x) & empty
    if threats & (threats - 1):  # two, and only one can be parried
        return False
    replies = (1 << cell for cell in _from_centre(size) if (threats or empty) >> cell & 1)
    return any(not _wins(size, other, own | stone, not is_x) for stone in replies)


@lru_cache(maxsize=8)
def _from_centre(size: int) -> tuple[int, ...]:
    """Return the cells, those in the middle first: they win most often."""
    middle = (size - 1) / 2

    def far(cell: int) -> float:
        row, column = cell // size - middle, cell % size - middle
        return row * row + column * column + row * column  # along Hex's own neighbourhoods

    return tuple(sorted(range(size * size), key=lambda cell: (far(cell), cell)))


GAME = Game(
    NAME,
    "Hex",
    "X joins the top row to the bottom row, O the left column to the right one, by cells that "
    "touch. A cell touches those left, right, above, below, above right and below left of it.",
    winner,
    value,
    sizes=SIZES,
    most_empty=16,
)


def draw(rng: random.Random, difficulty: Difficulty = DEFAULT) -> Board:
    """Draw a position in which exactly one move wins. Raises: `UserError` where none is found."""
    for _ in range(MAX_TRIES):
        if has_only_move(board := _draw_stones(rng, difficulty)):
            return board
    raise UserError(f"no Hex position found in {MAX_TRIES} draws: widen {difficulty}")


def _draw_stones(rng: random.Random, difficulty: Difficulty) -> Board:
    size = rng.choice(difficulty.sizes)
    most = min(difficulty.max_empty, size * size)
    num_stones = size * size - rng.randint(difficulty.min_empty, most)
    cells = rng.sample(range(size * size), num_stones)
    xs, os = cells[::2], cells[1::2]
    return "".join(
        "X" if cell in xs else "O" if cell in os else EMPTY for cell in range(size * size)
    )


def has_only_move(board: Board) -> bool:
    """Return whether exactly one move of a position wins."""
    if winner(board) is not None:
        return False
    winning = (cell for cell, sign in enumerate(board) if sign == EMPTY and _is_win(board, cell))
    return next(winning, None) is not None and next(winning, None) is None


def _is_win(board: Board, cell: int) -> bool:
    return value(place(board, cell)) == 0.0


def turned(board: Board) -> Board:
    """Return the board turned by half, which is the same position."""
    return board[::-1]


def problems(split: Split, seed: int, difficulty: Difficulty = DEFAULT) -> Iterator[Problem]:
    """Yield problems of a split without end, none twice, the same ones for the same arguments.

    A board and the same turned by half count as one.
    """

    def content(board: Board) -> str:
        return min(board, turned(board))

    draws = draw_split(
        NAME, split, seed, lambda rng: _draw_stones(rng, difficulty), content, has_only_move
    )
    return (written(GAME, board) for board in draws)


TASK = board_task(GAME, problems)
