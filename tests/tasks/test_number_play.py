"""Perfect play with numbers against brute force over expressions, and the value of prefixes."""

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import Problem
from system2.tasks import countdown, game24
from system2.tasks.countdown import FOUR, Difficulty, generate
from system2.tasks.expressions import Expression, evaluate, leaves, parse, render
from system2.tasks.number_play import MAX_NUMBERS, solve, steps_value

seeds = st.integers(0, 2**60)


def reached(pool: Sequence[Fraction]) -> Iterator[tuple[Fraction, ...]]:
    """Every way to go on from a pool by one operation, to its end."""
    yield tuple(pool)
    for i, j in itertools.permutations(range(len(pool)), 2):
        rest = [pool[k] for k in range(len(pool)) if k not in (i, j)]
        a, b = pool[i], pool[j]
        for made in (a + b, a - b, a * b, *([a / b] if b else [])):
            yield from reached([*rest, made])


def makes(numbers: Sequence[int | Fraction], *, all_numbers: bool) -> set[Fraction]:
    pools = reached([Fraction(number) for number in numbers])
    ends = (pool for pool in pools if len(pool) == 1 or not all_numbers)
    return {abs(value) for pool in ends for value in pool}


@given(st.lists(st.integers(1, 12), min_size=1, max_size=3), st.booleans())
@settings(max_examples=30)
def test_exactly_what_brute_force_reaches_is_solved(numbers: list[int], all_numbers: bool) -> None:
    known = makes(numbers, all_numbers=all_numbers)
    tried = {*known, *map(Fraction, range(30)), Fraction(1, 3)}
    for target in tried:
        expression = solve(numbers, target, all_numbers=all_numbers)
        assert (expression is not None) == (target in known), target
        if expression is not None and target.denominator == 1:
            assert countdown.check(
                numbers, int(target), render(expression), all_numbers=all_numbers
            )


@pytest.mark.parametrize("numbers", [(3, 3, 8, 8), (1, 1, 1, 7), (0, 2, 5, 5), (13, 13, 2, 1)])
def test_four_numbers_too(numbers: tuple[int, ...]) -> None:
    known = makes(numbers, all_numbers=True)
    for target in range(120):
        expression = solve(numbers, target)
        assert (expression is not None) == (target in known), target
        assert expression is None or evaluate(expression) == target
    for target in random.Random(0).sample(sorted(known), 25):
        expression = solve(numbers, target)
        assert expression is not None
        assert evaluate(expression) == target
        assert sorted(leaves(expression)) == sorted(numbers)


def test_a_solution_is_always_the_same_and_goes_through_nothing_negative() -> None:
    def values(expression: Expression) -> Iterator[Fraction]:
        yield evaluate(expression)
        if not isinstance(expression, int):
            assert expression.left is not None
            yield from values(expression.left)
            yield from values(expression.right)

    rng = random.Random(1)
    for _ in range(50):
        numbers, target = rng.choices(range(1, 20), k=4), rng.randrange(100)
        expression = solve(numbers, target)
        assert expression == solve(numbers[::-1], target)
        assert expression is None or min(values(expression)) >= 0


def test_six_numbers_are_solved_in_bearable_time() -> None:
    rng = random.Random(2)
    start = time.process_time()
    for _ in range(3):
        assert solve([rng.randint(1, 99) for _ in range(6)], 697_813) is None
    assert time.process_time() - start < 6
    start = time.process_time()
    for _ in range(20):
        _ = solve([rng.randint(1, 99) for _ in range(4)], 697_813, all_numbers=False)
    assert (time.process_time() - start) / 20 < 0.05


@given(seeds, st.sampled_from([countdown.DEFAULT, FOUR, Difficulty(sizes=(5,), max_unused=2)]))
@settings(max_examples=40)
def test_the_reference_solution_can_be_won_from_everywhere(seed: int, dials: Difficulty) -> None:
    problem = generate(random.Random(seed), dials)
    lines = problem.metadata["solution"].split("\n")
    for count in range(len(lines) + 1):
        assert countdown.optimal(problem, "\n".join(lines[:count])) == 1.0
        assert countdown.optimal(problem, "".join(f"{line}\n" for line in lines[:count])) == 1.0


@given(seeds)
@settings(max_examples=30)
def test_a_step_is_worth_what_brute_force_can_make_of_it(seed: int) -> None:
    rng = random.Random(seed)
    problem = generate(rng, Difficulty(sizes=(4,), all_numbers=rng.random() < 0.5, max_number=12))
    asked = problem.metadata
    pool = list(map(Fraction, asked["numbers"]))
    rng.shuffle(pool)
    a, b, op = pool.pop(), pool.pop(), rng.choice("+-*/")
    made = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[op]
    known = makes([*pool, made], all_numbers=asked["all_numbers"])
    step = f"{a} {op} {b} = {made}"
    assert countdown.optimal(problem, step) == float(asked["target"] in known), step
    assert countdown.optimal(problem, f"{a} {op} {b} = {made + 1}") == 0.0
    assert countdown.optimal(problem, "100 + 1 = 101") == 0.0


def four(numbers: list[int], target: int, *, all_numbers: bool = True) -> Problem:
    asked = {"numbers": numbers, "target": target, "all_numbers": all_numbers}
    return Problem("p", "", "", "countdown", asked)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 1.0),
        ("\n\n", 1.0),
        ("8 / 3 = 8/3", 1.0),
        ("8 / 3 = 8/3\n3 - 8/3 = 1/3\n", 1.0),
        ("8 / 3 = 8/3\n3 - (8/3) = 1/3\n8 / (1/3) = 24\n", 1.0),
        ("8 / 3 = 8/3 (left: 3 8 8/3)\n8/3 - 3 = -1/3\n8 / (-1/3) = -24", 1.0),
        ("8 ÷ 3 = \\frac{8}{3}.", 1.0),
        ("3 - 8 / 3 = 1/3", 1.0),
        ("8 / (3 - 8 / 3) = 24", 1.0),
        ("8 / (3 - 8 / 3)", 1.0),
        ("8 + 8 = 16", 0.0),  # a dead end
        ("3 + 3 = 7", 0.0),
        ("3 / (3 - 3) = 1", 0.0),
        ("3 + 9 = 12", 0.0),
        ("3 + 3 + 3 = 9", 0.0),
        ("8 / 3 = 2", 0.0),
        ("8 - 3 = 5\n8 - 3 = 5\n8 - 3 = 5", 0.0),
        ("So the answer is 8 / (3 - 8 / 3).", 1.0),
        ("So the answer is 8 + 8 + 3 + 3.", 0.0),
        ("8 + 8 + 3 + 3", 0.0),
        ("8 / 3 = 9\nSo the answer is 8 / (3 - 8 / 3).", 0.0),
        ("First I divide.", None),
        ("8 / 3 =", None),
        ("8 / 3 = 8/3\nand so on", None),
        ("= 3", None),
        ("8 / 3 = 2.667", None),
        ("24 = 3 * 8", None),
    ],
)
def test_values_of_texts(text: str, value: float | None) -> None:
    problem = four([3, 3, 8, 8], 24)
    assert countdown.optimal(problem, text) == value
    if countdown.grade(problem, text):
        assert value == 1.0


def test_numbers_may_be_left_over_unless_all_are_asked_for() -> None:
    assert countdown.optimal(four([5, 3, 2], 8), "5 + 3 = 8") == 0.0
    assert countdown.optimal(four([5, 3, 2], 8, all_numbers=False), "5 + 3 = 8") == 1.0
    assert countdown.optimal(four([5, 8], 8, all_numbers=False), "") == 1.0
    assert countdown.optimal(four([5, 8], 8), "") == 0.0
    assert countdown.optimal(four([1, 1, 4], 0), "1 - 1 = 0") == 1.0


def test_too_many_numbers_are_not_asked_of_the_solver() -> None:
    problem = four(list(range(2, MAX_NUMBERS + 5)), 10**6)
    assert countdown.optimal(problem, "") is None
    assert countdown.optimal(problem, "2 + 3 = 6") == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "1 + 1 = 2\n" * 500_000,
        "(" * 100_000,
        "3 * 8 = 24\n" * 15_000,
        f"{'9' * 390} * 3 = 1",
        f"{'-' * 390}3",
        " + ".join(["3"] * 90) + " = 270",
        "/".join(["3"] * 190) + " = 270",
        "answer is" * 20_000,
        "3 - 3 = 0 (left: " * 10_000,
        "\x00\ud800",
    ],
)
def test_hostile_texts_are_judged_fast(text: str) -> None:
    start = time.process_time()
    for judge in (countdown.optimal, countdown.grade, game24.optimal, game24.grade):
        assert judge(four([3, 3, 8, 8], 24), text) in (None, 0.0, False)
    assert time.process_time() - start < 2


def test_a_text_that_reads_in_two_ways_is_worth_the_better() -> None:
    """8/3 at hand, and 8 and 3 too: the line takes whichever helps."""
    steps = ["16 / 6 = 8/3", "8 / 3 - 2 = 2/3"]
    assert steps_value([16, 6, 8, 3, 2], 6, steps, all_numbers=False) == 1.0
    assert parse("8 / 3 - 2") is not None
