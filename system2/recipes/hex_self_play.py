"""A player of small Hex that teaches itself: AlphaZero's loop, for the recipe `hex_compute`.

Source: AlphaZero, as Jones (arXiv 2104.03113) runs it on Hex: PUCT over a network's prior and
value, games against itself, the network fitted to visit counts and outcomes. We differ: the board
is shown with the mover's two sides at top and bottom, and positions of the test split are played
but never learned from.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from system2.core import derive_seed
from system2.tasks.boards import Board, empty_board, mover, size_of
from system2.tasks.hex import moves, play, turned, winner
from system2.tasks.splits import split_of

EXPLORATION = 1.25
NOISE, NOISE_SHARE = 0.5, 0.25
"""Dirichlet noise on the root's prior in games against itself."""
OPENING = 6
"""Moves of such a game that are drawn by their visits; later ones are the most visited."""


class Network(nn.Module):
    """Move logits and the mover's value in [-1, 1], of boards as `seen` shows them."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        cells = size * size
        self.body = nn.Sequential(
            nn.Linear(2 * cells, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.head = nn.Linear(width, cells + 1)

    def forward(
        self, boards: Float[Tensor, "batch input"]
    ) -> tuple[Float[Tensor, "batch cell"], Float[Tensor, "batch"]]:
        """Return logits and values."""
        out = self.head(self.body(boards))
        return out[:, :-1], out[:, -1].tanh()


def shown_cell(cell: int, board: Board) -> int:
    """Return where a cell is shown to the mover: O's board is mirrored, so that it plays down."""
    size = size_of(board)
    return cell if mover(board) == "X" else cell % size * size + cell // size


def seen(board: Board) -> list[float]:
    """Return the mover's stones, then the other's, as 0 and 1."""
    own = mover(board)
    planes = [0.0] * (2 * len(board))
    for cell, sign in enumerate(board):
        if sign in "XO":
            planes[shown_cell(cell, board) + (0 if sign == own else len(board))] = 1.0
    return planes


@dataclass(slots=True)
class Place:
    """A position in a search: its prior by move, the visits, and the sum of its mover's values."""

    board: Board
    priors: dict[int, float] = field(default_factory=dict[int, float])
    children: dict[int, "Place"] = field(default_factory=dict[int, "Place"])
    visits: int = 0
    total: float = 0.0

    def best_move(self) -> int:
        """Return the move that PUCT goes on with."""
        root = math.sqrt(self.visits)

        def score(cell: int) -> float:
            child = self.children.get(cell)
            if child is None:
                return EXPLORATION * self.priors[cell] * root
            # a child's values are those of the player who moves there: the other one
            exploring = EXPLORATION * self.priors[cell] * root / (1 + child.visits)
            return exploring - child.total / child.visits

        return max(self.priors, key=score)


@torch.inference_mode()
def _expand(network: Network, places: Sequence[Place]) -> list[float]:
    """Give unfinished places their priors; return their movers' values in [-1, 1]."""
    if not places:
        return []
    logits, values = network(torch.tensor([seen(place.board) for place in places]))
    for place, row in zip(places, logits.softmax(-1).tolist(), strict=True):
        open_cells = moves(place.board)
        total = math.fsum(row[shown_cell(cell, place.board)] for cell in open_cells)
        place.priors = {cell: row[shown_cell(cell, place.board)] / total for cell in open_cells}
    return values.tolist()


def search(
    network: Network,
    boards: Sequence[Board],
    evaluations: int,
    *,
    noise: random.Random | None = None,
) -> list[Place]:
    """Return the root of a search of each board, in which nobody has won yet.

    Every board costs `evaluations` evaluations of positions, its own included; all boards go
    through the network together. `noise` makes the first priors noisy.
    """
    roots = [Place(board) for board in boards]
    for root, value in zip(roots, _expand(network, roots), strict=True):
        root.visits, root.total = 1, value
        if noise is not None:
            drawn = [noise.gammavariate(NOISE, 1.0) for _ in root.priors]
            for (cell, prior), one in zip(list(root.priors.items()), drawn, strict=True):
                share = NOISE_SHARE * one / (math.fsum(drawn) or 1.0)
                root.priors[cell] = (1 - NOISE_SHARE) * prior + share
    for _ in range(evaluations - 1):
        paths = [_selected(root) for root in roots]
        fresh = [path[-1] for path in paths if winner(path[-1].board) is None]
        values = iter(_expand(network, fresh))
        for path in paths:
            is_over = winner(path[-1].board) is not None
            value = -1.0 if is_over else next(values)  # whoever moved last has won
            for place in reversed(path):
                place.visits += 1
                place.total += value
                value = -value
    return roots


def _selected(root: Place) -> list[Place]:
    """Return the path to a place that was not expanded, or where the game is over."""
    path = [root]
    while path[-1].priors:
        place = path[-1]
        cell = place.best_move()
        if cell not in place.children:
            place.children[cell] = Place(play(place.board, cell))
        path.append(place.children[cell])
    return path


def chosen(root: Place) -> int:
    """Return the most visited move, where none was visited the likeliest."""
    if not root.children:
        return max(root.priors, key=root.priors.__getitem__)
    return max(root.children, key=lambda cell: (root.children[cell].visits, root.priors[cell]))


@dataclass(frozen=True, slots=True)
class Lesson:
    """A position of a game: what was seen, how its visits were shared, how it ended (+1, -1)."""

    seen: list[float]
    visits: list[float]
    outcome: float


@dataclass(frozen=True, slots=True)
class LessonBatch:
    """Lessons of one training step."""

    seen: Float[Tensor, "batch input"]
    visits: Float[Tensor, "batch cell"]
    outcome: Float[Tensor, "batch"]

    @property
    def num_targets(self) -> int:
        """How many positions are learned from."""
        return len(self.outcome)

    def to(self, device: torch.device) -> "LessonBatch":
        """Return the batch on a device."""
        return LessonBatch(*(x.to(device) for x in (self.seen, self.visits, self.outcome)))


def self_play(network: Network, size: int, games: int, evaluations: int, seed: int) -> list[Lesson]:
    """Play games against itself, all at once; return a lesson a position outside the test split."""
    rng = random.Random(derive_seed("hex", seed))
    boards = [empty_board(size)] * games
    records: list[list[tuple[Board, Place]]] = [[] for _ in boards]
    live = list(range(games))
    while live:
        roots = search(network, [boards[i] for i in live], evaluations, noise=rng)
        for i, root in zip(live, roots, strict=True):
            records[i].append((boards[i], root))
            cell = chosen(root)
            if len(records[i]) <= OPENING and root.children:
                weights = [child.visits for child in root.children.values()]
                (cell,) = rng.choices(list(root.children), weights)
            boards[i] = play(boards[i], cell)
        live = [i for i in live if winner(boards[i]) is None]
    return [
        _lesson(board, root, 1.0 if winner(boards[i]) == mover(board) else -1.0)
        for i, record in enumerate(records)
        for board, root in record
        if split_of(min(board, turned(board))) == "train"
    ]


def _lesson(board: Board, root: Place, outcome: float) -> Lesson:
    shares = [0.0] * len(board)
    total = sum(child.visits for child in root.children.values()) or 1
    for cell, child in root.children.items():
        shares[shown_cell(cell, board)] = child.visits / total
    return Lesson(seen(board), shares, outcome)


def batch_of(lessons: Sequence[Lesson]) -> LessonBatch:
    """Return lessons as one batch."""
    return LessonBatch(
        torch.tensor([lesson.seen for lesson in lessons]),
        torch.tensor([lesson.visits for lesson in lessons]),
        torch.tensor([lesson.outcome for lesson in lessons]),
    )


def lesson_loss(network: Network, batch: LessonBatch) -> Float[Tensor, ""]:
    """Return AlphaZero's loss, summed: cross-entropy to the visits, squared outcome error."""
    logits, values = network(batch.seen)
    of_moves = functional.cross_entropy(logits, batch.visits, reduction="sum")
    return of_moves + (values - batch.outcome).square().sum()


def state_copy(network: Network) -> Mapping[str, Any]:
    """Return a network's weights as they are now."""
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}
