"""Train longer, or search more at test time? Small Hex, where every position's truth is known.

Jones (arXiv 2104.03113; Meta-CoT, arXiv 2501.04682, section 7): at a fixed strength, ten times the
training is worth some fifteen times the search at test time. There strength is Elo among players,
from boards of 3 to 9 rows (and its constant was computed wrongly, as its repository says). Here it
is the share of positions, each with exactly one winning move, in which that move is found.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from system2.core import derive_seed
from system2.recipes.hex_self_play import (
    Lesson,
    LessonBatch,
    Network,
    batch_of,
    chosen,
    lesson_loss,
    search,
    self_play,
    state_copy,
)
from system2.recipes.verdict import Size, Told, Verdict, measured
from system2.tasks.boards import Board, cell_of
from system2.tasks.hex import Difficulty, problems
from system2.train.loop import FitConfig, fit

CLAIM = "on small Hex, search at test time makes up for less training, and the other way round"
BATCH, STEPS, KEPT = 256, 24, 12
"""Positions a training step, steps a generation, and generations that are learned from."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The board and the network, games a generation, and the grid that is measured."""

    size: int
    width: int
    positions: int
    generations: tuple[int, ...]
    evaluations: tuple[int, ...]
    games: int = 32
    play_evaluations: int = 24
    seeds: int = 1


PLANS: dict[Size, Plan] = {
    "small": Plan(4, 128, 500, (2, 4, 8, 16, 32), (1, 4, 16, 64)),
    "paper": Plan(4, 128, 1_000, (2, 4, 8, 16, 32, 64, 128), (1, 4, 16, 64, 256), seeds=3),
}
Grades = NDArray[np.float64]


def trained(plan: Plan, seed: int, told: Told) -> list[Network]:
    """Return the network after each of the plan's numbers of generations."""
    _ = torch.manual_seed(derive_seed("hex network", seed))
    network, past = Network(plan.size, plan.width), list[list[Lesson]]()

    def batches(step: int) -> list[LessonBatch]:
        generation, within = divmod(step, STEPS)
        if not within:
            played = derive_seed(seed, generation)
            past.append(self_play(network, plan.size, plan.games, plan.play_evaluations, played))
            del past[:-KEPT]
        rng = random.Random(derive_seed("hex batch", seed, step))
        return [batch_of(rng.choices([one for game in past for one in game], k=BATCH))]

    steps = plan.generations[-1] * STEPS
    how = FitConfig(steps, 2e-3, final_rate=0.2, weight_decay=1e-3, beta2=0.99)
    kept: list[Network] = []
    for report in fit(network, batches, lesson_loss, how):
        told(f"training, seed {seed}", report.step + 1, steps)
        if (report.step + 1) / STEPS in plan.generations:
            kept.append(Network(plan.size, plan.width))
            kept[-1].load_state_dict(state_copy(network))
    return kept


def test_positions(plan: Plan) -> list[tuple[Board, int]]:
    """Return positions of the test split, each with its one winning move."""
    dials = Difficulty(sizes=(plan.size,), min_empty=6, max_empty=12)
    drawn = islice(problems("test", 0, dials), plan.positions)
    found: list[tuple[Board, int]] = []
    for problem in drawn:
        cell = cell_of(problem.answer, plan.size)
        assert cell is not None, "the answer is a cell of the board"
        found.append((problem.metadata["board"], cell))
    return found


def slopes(accuracy: Grades, plan: Plan) -> tuple[float, float, float]:
    """Return what a tenfold of training, and of search, adds to the log-odds; and R squared."""
    train, test = np.log10(plan.generations), np.log10(plan.evaluations)
    shown = np.clip(accuracy, 0.5 / plan.positions, 1 - 0.5 / plan.positions)
    odds = np.log(shown / (1 - shown)).ravel()
    grid = [np.repeat(train, len(test)), np.tile(test, len(train)), np.ones(odds.size)]
    design = np.stack(grid, axis=1)
    found = np.linalg.lstsq(design, odds, rcond=None)[0]
    spread, rest = float(odds.var()), odds - design @ found
    return float(found[0]), float(found[1]), 1 - float(rest.var()) / spread if spread else 1.0


def exchange(by_train: float, by_test: float) -> float:
    """Return log10 of how many times the search is worth ten times the training.

    Where search adds nothing, nothing it does is worth any training: infinite.
    """
    return by_train / by_test if by_test > 0 else math.inf


def times(log10: float) -> float | None:
    """Return a rate from its logarithm, None where it is beyond all measure."""
    return 10**log10 if abs(log10) < 9 else None


def bootstrap(grades: Grades, plan: Plan, resamples: int = 1_000) -> list[list[float]]:
    """Return the 95% intervals of both slopes and of log10 of the exchange rate, over positions."""
    rng = np.random.default_rng(derive_seed("hex bootstrap"))
    found: list[tuple[float, float, float]] = []
    for _ in range(resamples):
        picked: NDArray[np.int64] = rng.integers(0, len(grades[0, 0]), len(grades[0, 0]))
        by_train, by_test, _ = slopes(grades[..., picked].mean(-1), plan)
        found.append((by_train, by_test, exchange(by_train, by_test)))
    table = np.array(found)
    table[np.isinf(table)] = 1e9  # so that percentiles are numbers
    return np.percentile(table, (2.5, 97.5), axis=0).T.tolist()


def run(out: Path, size: Size, told: Told) -> Verdict:
    """Train players, let each search more and more, and fit the exchange rate."""
    del out
    torch.set_num_threads(1)
    plan = PLANS[size]
    positions = test_positions(plan)
    boards, right = [board for board, _ in positions], [cell for _, cell in positions]
    shape = (plan.seeds, len(plan.generations), len(plan.evaluations), len(boards))
    grades: Grades = np.zeros(shape)
    for seed in range(plan.seeds):
        for i, network in enumerate(trained(plan, seed, told)):
            for j, count in enumerate(plan.evaluations):
                found = map(chosen, search(network.eval(), boards, count))
                grades[seed, i, j] = [a == b for a, b in zip(found, right, strict=True)]
                told(f"testing, seed {seed}", i * shape[2] + j + 1, shape[1] * shape[2])
    mean = grades.mean(0)
    rows: Sequence[dict[str, Any]] = [
        {"generations": generation, "evaluations": count, **measured(mean[i, j].tolist())}
        for i, generation in enumerate(plan.generations)
        for j, count in enumerate(plan.evaluations)
    ]
    by_train, by_test, fitted = slopes(mean.mean(-1), plan)
    low_high = bootstrap(mean, plan)
    figures = {
        "rows": rows,
        "log_odds_by_tenfold_training": [by_train, *low_high[0]],
        "log_odds_by_tenfold_search": [by_test, *low_high[1]],
        "search_worth_tenfold_training": [
            times(x) for x in (exchange(by_train, by_test), *low_high[2])
        ],
        "r_squared": fitted,
        "seeds": plan.seeds,
    }
    holds = min(low_high[0][0], low_high[1][0]) > 0 and math.isfinite(fitted)
    return Verdict(CLAIM, holds, figures)
