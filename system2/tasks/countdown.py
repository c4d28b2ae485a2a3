"""Countdown: make a target from given whole numbers with + - * / and brackets.

A generated problem is solvable by construction: an expression is drawn first and its value
becomes the target. The reference solution states one operation a line and ends with the whole
expression. The check is strict: it parses the final expression, counts every number that is used
and computes with exact fractions. `optimal` is what perfect play can still make of some steps.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from system2.core import Problem, Split, Task, UserError
from system2.tasks.asked import whole_number, whole_numbers
from system2.tasks.expressions import (
    Expression,
    Operation,
    apply,
    evaluate,
    leaves,
    normal_form,
    parse,
    render,
)
from system2.tasks.number_play import steps_value
from system2.tasks.splits import draw_split
from system2.tasks.statements import final_statement

NAME = "countdown"
MAX_TEXT = 200_000
"""Characters of the longest completion that is read; a longer one is refused."""
LARGEST = 10**12
"""The highest number or target that a problem of a file may have."""
MAX_TRIES = 100_000
"""Draws without a target in range after which the dials are taken to admit none."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The dials of generated problems.

    `sizes` says how many numbers are given, each entry equally likely (repeat one to weigh it);
    numbers lie in 1..`max_number`, targets in `min_target`..`max_target`, and no result on the
    way exceeds `max_intermediate`. The reference solution leaves up to `max_unused` of the
    numbers out; with `all_numbers` an answer must use every one.
    Raises: `UserError` on dials that no problem can satisfy.
    """

    sizes: tuple[int, ...] = (3, 4)
    max_number: int = 99
    min_target: int = 10
    max_target: int = 100
    max_intermediate: int = 999
    max_unused: int = 0
    all_numbers: bool = False

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) - self.max_unused < 2:
            raise UserError(f"sizes {self.sizes} must leave at least 2 numbers to use")
        if not 1 <= self.min_target <= self.max_target <= self.max_intermediate:
            raise UserError(
                f"targets {self.min_target}..{self.max_target} must be a range within "
                f"1..{self.max_intermediate} (max_intermediate)"
            )
        if self.max_number < 1 or self.max_unused < 0:
            raise UserError("max_number must be at least 1 and max_unused at least 0")
        if self.all_numbers and self.max_unused:
            raise UserError("all_numbers leaves no number unused: set max_unused to 0")


DEFAULT = Difficulty()


@dataclass(frozen=True, slots=True)
class Draw:
    """A problem before it is written out."""

    numbers: tuple[int, ...]
    target: int
    expression: Expression

    @property
    def content(self) -> str:
        """What makes two problems the same: the numbers in any order, and the target."""
        return f"{' '.join(map(str, sorted(self.numbers)))} -> {self.target}"


def generate(rng: random.Random, difficulty: Difficulty = DEFAULT) -> Problem:
    """Draw one problem with its reference solution.

    Raises: `UserError` where the dials leave (almost) no target to reach.
    """
    return _written(draw(rng, difficulty), difficulty)


def draw(rng: random.Random, difficulty: Difficulty = DEFAULT) -> Draw:
    """Draw one problem. Raises: `UserError` as `generate`."""
    size = rng.choice(difficulty.sizes)
    for _ in range(MAX_TRIES):
        numbers = rng.choices(range(1, difficulty.max_number + 1), k=size)
        num_used = size - rng.randint(0, difficulty.max_unused)
        if drawn := _joined(rng, numbers[:num_used], difficulty):
            rng.shuffle(numbers)
            return Draw(tuple(numbers), *drawn)
    raise UserError(f"no countdown problem found in {MAX_TRIES} draws: widen {difficulty}")


def _joined(
    rng: random.Random, numbers: Sequence[int], difficulty: Difficulty
) -> tuple[int, Expression] | None:
    """Join all numbers by random operations; None where two admit none within the limits."""
    pool: list[tuple[int, Expression]] = [(number, number) for number in numbers]
    low, high = 1, difficulty.max_intermediate
    while len(pool) > 1:
        if len(pool) == 2:
            low, high = difficulty.min_target, difficulty.max_target
        small, right = pool.pop(int(rng.random() * len(pool)))
        large, left = pool.pop(int(rng.random() * len(pool)))
        if small > large:
            small, right, large, left = large, left, small, right
        possible: list[tuple[str, int]] = []
        if low <= large + small <= high:
            possible.append(("+", large + small))
        if low <= large - small <= high:
            possible.append(("-", large - small))
        # Two random numbers seldom have a small product or divide: those ops get more weight.
        if low <= large * small <= high:
            possible += [("*", large * small)] * 2
        if large % small == 0 and low <= large // small <= high:
            possible += [("/", large // small)] * 4
        if not possible:
            return None
        op, result = possible[int(rng.random() * len(possible))]
        pool.append((result, Operation(left, op, right)))
    return pool[0]


def _written(drawn: Draw, difficulty: Difficulty) -> Problem:
    listed = ", ".join(map(str, drawn.numbers[:-1])) + f" and {drawn.numbers[-1]}"
    times = "exactly once" if difficulty.all_numbers else "at most once"
    answer, solution = render(drawn.expression), solution_of(drawn.expression)
    return Problem(
        id=f"{NAME}-{hashlib.blake2b(drawn.content.encode(), digest_size=6).hexdigest()}",
        prompt=f"From the numbers {listed} make {drawn.target} with + - * / and brackets, "
        f"using each {times}.",
        answer=answer,
        task=NAME,
        metadata={
            "numbers": list(drawn.numbers),
            "target": drawn.target,
            "all_numbers": difficulty.all_numbers,
            "difficulty": solution.count("\n"),
            "solution": solution,
        },
    )


def solution_of(expression: Expression) -> str:
    """Write an expression's operations, one a line and each where it can be done, then itself."""
    steps = _steps(expression)[1]
    return "\n".join([*steps, f"So the answer is {render(expression)}."])


def _steps(expression: Expression) -> tuple[Fraction, list[str]]:
    """Return the value and the operations in an order in which each can be done."""
    if isinstance(expression, int):
        return Fraction(expression), []
    left, before = _steps(expression.left or 0)
    right, between = _steps(expression.right)
    value = apply(left, expression.op, right)
    step = f"{_operand(left)} {expression.op} {_operand(right)} = {value}"
    return value, [*before, *between, step]


def _operand(value: Fraction) -> str:
    """Write a value so that it stays one number where an operation follows."""
    return str(value) if value.denominator == 1 else f"({value})"


def problems(split: Split, seed: int, difficulty: Difficulty = DEFAULT) -> Iterator[Problem]:
    """Yield problems of a split without end, none twice, the same ones for the same arguments."""
    draws = draw_split(
        NAME, split, seed, lambda rng: draw(rng, difficulty), lambda drawn: drawn.content
    )
    return (_written(drawn, difficulty) for drawn in draws)


def final_expression(text: str) -> str:
    """Return the part of a text that should hold the expression, without its wrapping.

    What the text states as its answer (see `final_statement`), else its last line.
    """
    stated = final_statement(text)
    if stated is None:
        stated = text.strip().strip("`").strip().rpartition("\n")[2]
    for mark in ("\\(", "\\)", "\\[", "\\]", "$"):
        stated = stated.replace(mark, "")
    return stated.strip(" \t\r\n`.,;*")


def check(numbers: Sequence[int], target: int, text: str, *, all_numbers: bool = False) -> bool:
    """Return whether the final expression of a text makes the target from the numbers.

    `text` is a bare expression, or a completion that ends in one (see `final_expression`);
    "= target" may follow it. Each number may be used as often as it is given, with
    `all_numbers` it must be. A sign before a number or bracket is read: it reaches no positive
    target that the four operations do not. A text without an expression, division by zero and
    input over the limits are False: every text can be judged, so None never comes back.
    """
    if len(text) > MAX_TEXT:
        return False
    stated, equals, result = final_expression(text).partition("=")
    if equals and parse(result) != target:
        return False
    return makes(parse(stated), numbers, target, all_numbers=all_numbers)


def makes(
    expression: Expression | None, numbers: Sequence[int], target: int, *, all_numbers: bool
) -> bool:
    """Return whether an expression makes the target from the numbers; None: there is none."""
    if expression is None:
        return False
    left_over = Counter(numbers)
    for leaf in leaves(expression):
        # "-3 + 8" uses the given 3 under a sign, unless -3 itself is given.
        given = leaf if left_over[leaf] else -leaf if leaf < 0 else leaf
        if not left_over[given]:
            return False
        left_over[given] -= 1
    if all_numbers and left_over.total():
        return False
    try:
        return evaluate(expression) == target
    except ZeroDivisionError:
        return False


def is_true_line(line: str) -> bool:
    """Return False for a line that is wholly an equation of two sides and a wrong one."""
    if "=" not in line:
        return True
    left, _, right = line.strip().rstrip(".").partition("=")
    sides = parse(left), parse(right)
    if sides[0] is None or sides[1] is None:
        return True
    try:
        return evaluate(sides[0]) == evaluate(sides[1])
    except ZeroDivisionError:
        return False


def asked_of(problem: Problem) -> tuple[list[int], int, bool]:
    """Return a problem's numbers, its target, and whether all numbers must be used.

    Raises: `UserError` where its metadata does not say.
    """
    numbers = whole_numbers(problem, "numbers", -LARGEST, LARGEST)
    target = whole_number(problem, "target", -LARGEST, LARGEST)
    return numbers, target, bool(problem.metadata.get("all_numbers"))


def grade(problem: Problem, text: str) -> bool:
    """Return whether a text solves the problem and every line of it that is an equation holds."""
    numbers, target, all_numbers = asked_of(problem)
    if not check(numbers, target, text, all_numbers=all_numbers):
        return False
    return all(map(is_true_line, text.splitlines()))


def optimal(problem: Problem, text: str) -> float | None:
    """Return the value of the beginning of a solution under perfect play from there on.

    `text` holds whole steps as the reference solution does, a line each. 1.0 where they can go on
    to the target, 0.0 where not: a wrong equation, a number that is not at hand, a dead end. A
    finished text (it states an answer, or its last line is an expression) has its grade as value.
    None where it cannot be read, or where too many numbers are at hand for the solver.
    """
    return play_value(problem, text, grade)


def play_value(
    problem: Problem, text: str, accepts: Callable[[Problem, str], bool]
) -> float | None:
    """Return `optimal` where `accepts` grades a finished text."""
    numbers, target, all_numbers = asked_of(problem)
    if len(text) > MAX_TEXT:  # it will be refused, whatever comes
        return 0.0
    if accepts(problem, text):
        return 1.0
    lines = [line for line in text.splitlines() if line.strip()]
    if final_statement(text) or (lines and parse(lines[-1]) is not None):
        return 0.0
    return steps_value(numbers, target, lines, all_numbers=all_numbers)


def answer_of(problem: Problem, text: str) -> str | None:
    """Return the final expression of a text in `normal_form`; None where there is none."""
    del problem
    if len(text) > MAX_TEXT:
        return None
    expression = parse(final_expression(text).partition("=")[0])
    return None if expression is None else normal_form(expression)


TASK = Task(name=NAME, problems=problems, grade=grade, answer_of=answer_of, optimal=optimal)

FOUR = Difficulty(sizes=(4,), all_numbers=True)
"""Countdown as it is mostly studied: four numbers, all of which have to be used."""
TASK_FOUR = Task(
    name="countdown4",
    problems=partial(problems, difficulty=FOUR),
    grade=grade,
    answer_of=answer_of,
    optimal=optimal,
)
