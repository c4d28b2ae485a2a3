"""Tic-tac-toe and Hex: their solvers against plain minimax, their rules, moves judged exactly."""

import itertools
import random
from collections import deque
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import Problem, UserError
from system2.tasks import hex, tictactoe
from system2.tasks.boards import best_moves, cell_name, cell_of, mover, place, written
from system2.tasks.hex import Difficulty
from system2.tasks.splits import split_of


def joined(board: str, player: str) -> bool:
    """Whether a player's stones join their sides, by a search cell by cell."""
    size = int(len(board) ** 0.5)
    own = {divmod(cell, size) for cell, sign in enumerate(board) if sign == player}
    along = 0 if player == "X" else 1
    waiting = deque(cell for cell in own if cell[along] == 0)
    seen = set(waiting)
    while waiting:
        row, column = waiting.popleft()
        if (row, column)[along] == size - 1:
            return True
        for dr, dc in ((0, 1), (0, -1), (1, 0), (-1, 0), (-1, 1), (1, -1)):
            cell = (row + dr, column + dc)
            if cell in own and cell not in seen:
                seen.add(cell)
                waiting.append(cell)
    return False


@cache
def minimax(board: str) -> float:
    """The value of a Hex position for the mover, without any trick."""
    player = mover(board)
    other = "O" if player == "X" else "X"
    if joined(board, other):
        return 0.0
    empty = [cell for cell, sign in enumerate(board) if sign == "."]
    return max(1 - minimax(board[:c] + player + board[c + 1 :]) for c in empty)


@given(st.integers(0, 2**60), st.integers(2, 5))
@settings(max_examples=100)
def test_a_full_hex_board_has_exactly_one_winner(seed: int, size: int) -> None:
    cells = ["X"] * ((size * size + 1) // 2) + ["O"] * (size * size // 2)
    random.Random(seed).shuffle(cells)
    board = "".join(cells)
    assert joined(board, "X") != joined(board, "O")
    assert joined(board, str(hex.winner(board)))
    assert hex.moves(board) == ()


@given(st.integers(0, 2**60), st.integers(2, 5), st.integers(0, 25))
@settings(max_examples=100)
def test_hex_winners_are_those_that_have_joined(seed: int, size: int, num_stones: int) -> None:
    cells = random.Random(seed).sample(range(size * size), min(num_stones, size * size))
    board = "".join("." if c not in cells else "XO"[cells.index(c) % 2] for c in range(size * size))
    expected = next((player for player in "XO" if joined(board, player)), None)
    assert hex.winner(board) == expected


def test_the_hex_solver_is_minimax_on_three_rows() -> None:
    seen, waiting = {"." * 9}, ["." * 9]
    for board in waiting:
        assert hex.value(board) == minimax(board), board
        for cell in hex.moves(board):
            after = hex.play(board, cell)
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    assert len(seen) > 4000


def test_the_hex_solver_is_minimax_on_late_boards_of_four_and_five() -> None:
    rng = random.Random(0)
    for _ in range(60):
        size = rng.choice((4, 5))
        cells = rng.sample(range(size * size), size * size - rng.randint(1, 7))
        board = "".join(
            "." if c not in cells else "XO"[cells.index(c) % 2] for c in range(size * size)
        )
        if not (joined(board, "X") and mover(board) == "X") and not (
            joined(board, "O") and mover(board) == "O"
        ):
            assert hex.value(board) == minimax(board), board


def test_the_first_to_move_wins_hex() -> None:
    assert [hex.value("." * size * size) for size in (2, 3, 4)] == [1.0, 1.0, 1.0]
    # the short diagonal is what the first move needs; the corner loses
    assert "a1" not in [cell_name(cell, 3) for cell in best_moves(hex.GAME, "." * 9)]
    assert "b2" in [cell_name(cell, 3) for cell in best_moves(hex.GAME, "." * 9)]


@cache
def plain(board: str) -> float:
    lines = [board[i::3] for i in range(3)] + [board[3 * i : 3 * i + 3] for i in range(3)]
    lines += [board[0] + board[4] + board[8], board[2] + board[4] + board[6]]
    if "XXX" in lines or "OOO" in lines:
        return 0.0
    after = [place(board, cell) for cell, sign in enumerate(board) if sign == "."]
    return max((1 - plain(board) for board in after), default=0.5)


def test_tictactoe_is_solved() -> None:
    assert tictactoe.value(tictactoe.START) == 0.5
    boards = {tictactoe.START}
    for _ in range(9):
        boards |= {tictactoe.play(board, c) for board in boards for c in tictactoe.moves(board)}
    assert len(boards) == 5478
    assert all(tictactoe.value(board) == plain(board) for board in boards)
    ended = [board for board in boards if not tictactoe.moves(board)]
    assert sum(tictactoe.winner(board) == "X" for board in ended) == 626
    assert sum(tictactoe.winner(board) == "O" for board in ended) == 316
    assert sum(tictactoe.winner(board) is None for board in ended) == 16


def test_positions_that_mirror_each_other_share_a_split() -> None:
    by_split = {
        split: [p.metadata["board"] for p in tictactoe.problems(split, 0)]
        for split in ("train", "validation", "test")
    }
    for split, boards in by_split.items():
        for board in boards:
            assert split_of(min(tictactoe.images(board))) == split
    assert len(tictactoe.images("X........")) == 4
    assert len(tictactoe.images("XO.......")) == 8
    assert sum(map(len, by_split.values())) == len(tictactoe.positions())


@pytest.mark.parametrize("task", [tictactoe.TASK, hex.TASK], ids=lambda task: task.name)
def test_exactly_the_best_move_is_right(task: object) -> None:
    game = tictactoe.GAME if task is tictactoe.TASK else hex.GAME
    grade = tictactoe.TASK.grade if task is tictactoe.TASK else hex.TASK.grade
    source = tictactoe.problems if task is tictactoe.TASK else hex.problems
    for problem in itertools.islice(source("train", 3), 20):
        board = problem.metadata["board"]
        size = int(len(board) ** 0.5)
        right = [
            cell
            for cell in range(len(board))
            if grade(problem, f"So the answer is {cell_name(cell, size)}.")
        ]
        assert right == best_moves(game, board)
        assert len(right) == 1
        assert problem.metadata["best"] == [problem.answer]
        assert 1 - game.value(place(board, right[0])) == game.value(board)


def test_any_move_that_keeps_the_value_is_right() -> None:
    problem = written(tictactoe.GAME, tictactoe.START)
    assert all(tictactoe.TASK.grade(problem, cell_name(cell, 3)) for cell in range(9))
    # X in the middle: a side loses, a corner draws
    problem = written(tictactoe.GAME, "....X....")
    assert problem.metadata["best"] == ["a1", "c1", "a3", "c3"]
    assert not tictactoe.TASK.grade(problem, "b1")
    lost = written(tictactoe.GAME, "X.X..OO.X")  # two threats at once
    assert lost.metadata["value"] == 0.0
    assert all(tictactoe.TASK.grade(lost, name) for name in lost.metadata["best"])


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("b2", True),
        ("I take\nB2.", True),
        (r"\boxed{b2}", True),
        ("<answer> b 2 </answer>", True),
        ("The answer is a1.", False),
        ("b4", False),
        ("b22", False),
        ("b", False),
        ("5", False),
        ("", False),
        ("b2 or c1", False),
        ("z99", False),
        ("b2" * 10**6, False),
        ("The answer is " + "b" * 150_000, False),
        ("b\u0662", False),
    ],
)
def test_texts(text: str, right: bool) -> None:
    problem = written(hex.GAME, "........X")
    assert hex.TASK.grade(problem, text) is right


def test_what_is_no_board_and_no_move_is_refused() -> None:
    for board in ("", "XO", "Q........", "OO.......", "XXX......", "X" * 10**6):
        with pytest.raises(UserError, match="is no board"):
            written(tictactoe.GAME, board)
    with pytest.raises(UserError, match="game is over"):
        written(tictactoe.GAME, "XXXOO....")
    for cell in (0, 9, -1):
        with pytest.raises(UserError, match="cannot be taken"):
            tictactoe.play("X........", cell)
    with pytest.raises(UserError, match="has won"):
        tictactoe.play("XXXOO....", 8)
    with pytest.raises(UserError, match="has won"):
        hex.play("XO.XO.X..", 8)
    with pytest.raises(UserError, match="2 to 5"):
        hex.winner("." * 36)
    with pytest.raises(UserError, match="is no board"):
        hex.TASK.grade(Problem("p", "", "", "hex", {"board": "abc"}), "a1")


def test_cells_have_names() -> None:
    for size in (3, 5):
        names = [cell_name(cell, size) for cell in range(size * size)]
        assert [cell_of(name, size) for name in names] == list(range(size * size))
    assert cell_name(5, 3) == "c2"
    assert cell_of("d1", 3) is None


def test_hex_dials() -> None:
    for seed in range(10):
        board = hex.draw(random.Random(seed), Difficulty((4, 5), 6, 8))
        assert len(board) in (16, 25)
        assert 6 <= board.count(".") <= 8
    for wrong in (
        {"sizes": ()},
        {"sizes": (2,)},
        {"sizes": (6,)},
        {"min_empty": 1},
        {"min_empty": 8, "max_empty": 7},
        {"max_empty": 15},
        {"min_empty": 10, "max_empty": 11},
    ):
        with pytest.raises(UserError):
            Difficulty(**wrong)
