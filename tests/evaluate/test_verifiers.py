"""Measuring verifiers: true values by rollouts, gaps of best-of-N, slopes; alone as in a batch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from system2.core import Problem, SamplingParams, ScoreRequest, Task, Tokens, UserError
from system2.engine.local import LocalPolicy
from system2.evaluate.verifiers import (
    MeasureConfig,
    PolicyValue,
    best_of_n_gap,
    compared,
    figures_of,
    log_log_slope,
    measured,
    policy_values,
)
from system2.tasks import find_task
from system2.verify.exact import OracleVerifier

TASK = replace(find_task("word_problems"), step_stop=" = ")
PARAMS = SamplingParams(24)
CONFIG = MeasureConfig(attempts=3, rollouts=8, max_tokens=24)


@dataclass(frozen=True)
class Constant:
    """A verifier of one opinion."""

    value: Any

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        return [[self.value] * len(request.prefixes) for request in requests]


def graded(task: Task, policy: LocalPolicy, problem: Problem, text: str) -> PolicyValue:
    """The value of a finished text."""
    end = (min(policy.tokenizer.eos),)
    (value,) = policy_values(policy, task, [(problem, policy.tokenizer.encode(text) + end)], 4)
    return value


def test_rollouts_of_a_prefix_do_not_depend_on_the_batch(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    begun: list[Tokens] = [(), toy_policy.tokenizer.encode("4"), toy_policy.tokenizer.encode("5")]
    prefixes = [(problem, at) for problem in sums[:5] for at in begun]
    together = policy_values(toy_policy, TASK, [*prefixes, *prefixes[::-1]], 6, params=PARAMS)
    assert together[: len(prefixes)] == together[len(prefixes) :][::-1]
    alone = [policy_values(toy_policy, TASK, [one], 6, params=PARAMS)[0] for one in prefixes]
    assert together[: len(prefixes)] == alone
    assert 0 < sum(value.num_right for value in alone) < 6 * len(alone), "this would prove less"
    others = policy_values(toy_policy, TASK, prefixes, 6, params=PARAMS, seed=1)
    assert others != alone
    assert policy_values(toy_policy, TASK, [], 6) == []


def test_many_rollouts_come_near_the_exact_value(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    """Greedy has one outcome: its value is 0 or 1, and the grade of what it says."""
    greedy = SamplingParams(24, temperature=0.0)
    values = policy_values(toy_policy, TASK, [(p, ()) for p in sums[:12]], 3, params=greedy)
    assert {value.value for value in values} == {0.0, 1.0}


def test_a_finished_prefix_has_its_grade(toy_policy: LocalPolicy, sums: list[Problem]) -> None:
    problem = sums[0]
    right = f"So the answer is {problem.answer}."
    assert graded(TASK, toy_policy, problem, right) == PolicyValue(4, 4)
    assert graded(TASK, toy_policy, problem, "So the answer is 19.") == PolicyValue(0, 4)

    def unjudged(problem: Problem, text: str) -> None:
        del problem, text

    unknown = replace(TASK, grade=unjudged)
    nobody = graded(unknown, toy_policy, problem, right)
    assert (nobody, nobody.value) == (PolicyValue(0, 0), None)


def test_every_prefix_is_measured_once_and_attempts_are_paths(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    oracle = OracleVerifier(TASK, toy_policy.tokenizer)
    rows = measured(toy_policy, TASK, sums[:6], {"oracle": oracle, "half": Constant(0.5)}, CONFIG)
    assert [row["problem"] for row in rows] == [problem.id for problem in sums[:6]]
    for problem, row in zip(sums, rows, strict=False):
        prefixes, attempts = row["prefixes"], row["attempts"]
        assert len(attempts) == 3
        assert prefixes[0]["text"] == ""
        assert len({(p["text"], p["finished"]) for p in prefixes}) == len(prefixes)
        assert {at for attempt in attempts for at in attempt["prefixes"]} == {*range(len(prefixes))}
        for attempt in attempts:
            path = [prefixes[at] for at in attempt["prefixes"]]
            assert [prefix["steps"] for prefix in path] == [*range(len(path))]
            for one, other in pairwise(path):
                assert other["text"].startswith(one["text"])
            if path[-1]["finished"]:
                assert attempt["grade"] == TASK.grade(problem, path[-1]["text"])
                assert path[-1]["values"]["oracle"] == float(attempt["grade"])
                assert path[-1]["right"] == attempt["grade"] * path[-1]["rollouts"]
            else:
                assert attempt["grade"] is False
        assert all(prefix["values"]["half"] == 0.5 for prefix in prefixes)
    alone = [measured(toy_policy, TASK, [p], {"oracle": oracle}, CONFIG)[0] for p in sums[:6]]
    for row, same in zip(rows, alone, strict=True):
        assert [p["right"] for p in row["prefixes"]] == [p["right"] for p in same["prefixes"]]


def test_the_truth_itself_has_no_error(toy_policy: LocalPolicy, sums: list[Problem]) -> None:
    rows = measured(toy_policy, TASK, sums[:8], {"v": Constant(0.5)}, CONFIG)
    for row in rows:
        for prefix in row["prefixes"]:
            prefix["values"]["v"] = prefix["right"] / prefix["rollouts"]
    figures = figures_of(rows, "v", rollouts=CONFIG.rollouts)
    policy = figures["policy"]
    assert policy["mae"]["value"] == policy["ece"]["value"] == policy["ece_debiased"] == 0
    assert policy["correlation"] == pytest.approx(1)
    assert (figures["optimal"], figures["first_errors"]) == (None, None), "no solver here"
    assert [row["gap"] for row in figures["best_of_n"]] == pytest.approx([0, 0, 0])


def test_first_lost_steps_are_found_by_perfect_values(
    toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    """A task in which what the first step says decides: perfect play is lost or not."""

    def play(problem: Problem, text: str) -> float:
        del problem
        return float(len(text) % 3 > 0 or not text)

    solvable = replace(TASK, optimal=play)
    rows = measured(toy_policy, solvable, sums[:30], {"v": Constant(0.5)}, CONFIG)
    for row in rows:
        for prefix in row["prefixes"]:
            prefix["values"]["v"] = prefix["optimal"]
    found = figures_of(rows, "v", rollouts=CONFIG.rollouts)
    assert found["first_errors"]["f1"] == 1
    assert found["optimal"]["mae"]["value"] == 0


@pytest.mark.parametrize("wrong", [math.nan, 2.0, None])
def test_a_verifier_that_says_no_value_is_named(
    wrong: object, toy_policy: LocalPolicy, sums: list[Problem]
) -> None:
    with pytest.raises(UserError, match="Constant"):
        _ = measured(toy_policy, TASK, sums[:1], {"v": Constant(wrong)}, CONFIG)


def test_unknown_truths_are_left_out() -> None:
    found = compared(["a", "b", "c"], [0.5, 0.25, 0.9], [None, 0.25, None])
    assert found is not None
    assert (found["n"], found["mae"]["value"]) == (1, 0.0)
    assert compared(["a"], [0.5], [None]) is None


def test_the_gap_of_best_of_n_by_hand() -> None:
    grades = [[True, False], [False, False], [False, True]]
    values = [[0.1, 0.9], [0.5, 0.5], [0.2, 0.7]]
    one, two = best_of_n_gap(grades, values)
    assert (one["k"], one["pass"], one["best"], one["gap"]) == (1, *[pytest.approx(1 / 3)] * 2, 0)
    assert (two["pass"], two["best"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert two["gap"] == pytest.approx(1 / 3)
    assert best_of_n_gap([], []) == []


def test_a_power_law_has_its_exponent_as_slope() -> None:
    sizes = [500, 1500, 5000]
    figure = log_log_slope(sizes, [[3 * size**-0.4] for size in sizes])
    assert figure.value == pytest.approx(-0.4)
    assert (figure.low, figure.high) == (None, None), "one unit a size says nothing of spread"
    rng = np.random.default_rng(0)
    errors = [(3 * size**-0.4 * rng.lognormal(0, 0.2, 60)).tolist() for size in sizes]
    noisy = log_log_slope(sizes, errors)
    assert noisy.low is not None
    assert noisy.high is not None
    assert noisy.low < -0.4 < noisy.high
    assert noisy == log_log_slope(sizes, errors)


def test_paired_units_are_resampled_together() -> None:
    """Hard problems are hard at every size: that spread cancels where units are paired."""
    sizes = [500, 1500, 5000]
    hardness = np.random.default_rng(1).lognormal(0, 1, 50)
    errors = [(hardness * size**-0.3).tolist() for size in sizes]
    paired, apart = (log_log_slope(sizes, errors, is_paired=pairs) for pairs in (True, False))
    assert paired.low == pytest.approx(-0.3)
    assert paired.high == pytest.approx(-0.3)
    assert apart.low is not None
    assert apart.high is not None
    assert apart.high - apart.low > 0.05


@pytest.mark.parametrize(
    ("sizes", "errors", "paired", "named"),
    [
        ([500], [[0.1]], False, "two sizes"),
        ([500, 500], [[0.1], [0.2]], False, "two sizes"),
        ([500, 1500], [[0.1]], False, "two sizes"),
        ([0, 1500], [[0.1], [0.2]], False, "above 0"),
        ([500, 1500], [[0.0], [0.2]], False, "no logarithm"),
        ([500, 1500], [[], []], False, "units"),
        ([500, 1500], [[0.1], [0.2, 0.3]], True, "units"),
        ([500, 1500], [[math.nan], [0.2]], False, "no logarithm"),
    ],
)
def test_a_slope_that_is_none_is_refused(
    sizes: list[float], errors: list[list[float]], paired: bool, named: str
) -> None:
    with pytest.raises(UserError, match=named):
        _ = log_log_slope(sizes, errors, is_paired=paired)
