"""Countdown: right by construction, judged strictly, against brute force and real answers."""

import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from system2.core import UserError
from system2.tasks import countdown
from system2.tasks.countdown import DEFAULT, Difficulty, check, generate
from system2.tasks.expressions import leaves, parse

seeds = st.integers(0, 2**60)

STEP = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")


def solve(numbers: Sequence[int], target: int) -> str | None:
    """Find an expression of all numbers by brute force over exact fractions."""
    pool = [(Fraction(number), str(number)) for number in numbers]
    return next(_solutions(pool, target), None)


def _solutions(pool: list[tuple[Fraction, str]], target: int) -> Iterator[str]:
    if len(pool) == 1:
        if pool[0][0] == target:
            yield pool[0][1]
        return
    for i, j in itertools.permutations(range(len(pool)), 2):
        rest = [pool[k] for k in range(len(pool)) if k not in (i, j)]
        (a, left), (b, right) = pool[i], pool[j]
        joined = [(a - b, f"({left} - {right})")]
        joined += [(a + b, f"({left}+{right})"), (a * b, f"({left} * {right})")] if i < j else []
        joined += [(a / b, f"({left} / {right})")] if b else []
        for new in joined:
            yield from _solutions([*rest, new], target)


def follow(solution: str, numbers: Sequence[int]) -> int:
    """Do the steps of a solution on the numbers and return what is left."""
    at_hand = Counter(numbers)
    for line in solution.split("\n")[:-1]:
        found = STEP.fullmatch(line)
        assert found is not None, line
        left, right, result = int(found[1]), int(found[3]), int(found[4])
        for number in (left, right):
            assert at_hand[number], f"{number} is not at hand for {line}"
            at_hand[number] -= 1
        exact = {"+": left + right, "-": left - right, "*": left * right}
        assert exact.get(found[2], Fraction(left, right or 1)) == result
        assert 1 <= result <= 999
        at_hand[result] += 1
    (last,) = at_hand.elements()
    return last


@given(seeds)
def test_the_reference_solution_is_right(seed: int) -> None:
    problem = generate(random.Random(seed))
    asked = problem.metadata
    assert follow(asked["solution"], asked["numbers"]) == asked["target"]
    assert asked["solution"].endswith(f"\nSo the answer is {problem.answer}.")
    assert countdown.grade(problem, asked["solution"])
    assert countdown.grade(problem, problem.answer)
    assert check(asked["numbers"], asked["target"], problem.answer, all_numbers=True)


@given(seeds)
def test_the_prompt_says_all_that_is_asked(seed: int) -> None:
    problem = generate(random.Random(seed))
    *numbers, target = map(int, re.findall(r"\d+", problem.prompt))
    assert numbers == problem.metadata["numbers"]
    assert target == problem.metadata["target"]
    # The tokenizer of the embedded model knows a number by the space before it.
    assert all(
        problem.prompt[found.start() - 1] == " " for found in re.finditer(r"\d+", problem.prompt)
    )


@given(seeds, st.integers(0, 10**6))
def test_a_text_is_right_if_and_only_if_brute_arithmetic_says_so(seed: int, at: int) -> None:
    """Change one number of a right answer: it is wrong unless number and value still fit."""
    problem = generate(random.Random(seed))
    numbers, target = problem.metadata["numbers"], problem.metadata["target"]
    found = list(re.finditer(r"\d+", problem.answer))
    place = found[at % len(found)]
    other = numbers[at % len(numbers)]
    text = f"{problem.answer[: place.start()]}{other}{problem.answer[place.end() :]}"
    expression = parse(text)
    assert expression is not None
    fits = not Counter(leaves(expression)) - Counter(numbers)
    assert check(numbers, target, text) == (fits and text == problem.answer)


@given(seeds)
@settings(max_examples=25)
def test_the_dials_work(seed: int) -> None:
    dials = Difficulty(
        sizes=(5,), max_number=9, min_target=50, max_target=60, max_intermediate=70, max_unused=2
    )
    problem = generate(random.Random(seed), dials)
    numbers, target = problem.metadata["numbers"], problem.metadata["target"]
    assert len(numbers) == 5
    assert max(numbers) <= 9
    assert 50 <= target <= 60
    assert problem.metadata["difficulty"] in (2, 3, 4)
    steps = STEP.findall(problem.metadata["solution"])
    assert all(int(step[3]) <= 70 for step in steps)
    strict = generate(random.Random(seed), Difficulty(all_numbers=True))
    assert "exactly once" in strict.prompt
    assert not countdown.grade(strict, str(strict.metadata["target"]))


def test_dials_that_no_problem_satisfies_are_refused() -> None:
    for dials in (
        {"sizes": ()},
        {"sizes": (1,)},
        {"sizes": (3,), "max_unused": 2},
        {"min_target": 50, "max_target": 20},
        {"max_target": 2000},
        {"max_number": 0},
        {"all_numbers": True, "max_unused": 1},
    ):
        with pytest.raises(UserError):
            Difficulty(**dials)
    hopeless = Difficulty(sizes=(2,), max_number=2, min_target=90)
    with pytest.raises(UserError, match="no countdown problem"):
        generate(random.Random(0), hopeless)


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("(5 + 3) * 2", True),
        ("(5+3)*2 = 16", True),
        ("(5+3)*2 = 17", False),
        ("(5+3)*2 = 16 = 16", False),
        ("16 = (5+3)*2", False),
        ("So the answer is (5 + 3) * 2.", True),
        ("The answer is: (5+3)*2 = 16.", True),
        ("I try 5 * 3 + 2.\n<answer>(5 + 3) * 2</answer>", True),
        ("<answer>(5+3)*2</answer>\nno, wait\n<answer>5+3*2</answer>", False),
        ("<answer>5+3*2</answer> no: <answer>\n(5+3)*2\n</answer>", True),
        (r"The answer is $\boxed{(5+3)\times 2}$.", True),
        (r"\boxed{\left(5+3\right) \cdot 2 = 16}", True),
        (r"Final answer: \((5 + 3) \times 2\)", True),
        ("**Answer:** `(5 + 3) * 2`", True),
        ("```\n(5 + 3) * 2\n```", True),
        ("first this:\n(5 + 3) * 2", True),
        ("(5 + 3) * 2 is it", False),
        ("5 * 3 + 5 - 2 * 2", False),
        ("5 + 3 + 8", False),
        ("53 - 2", False),
        ("5 + 3 * 2", False),
        ("(5 + 3) * 2 / (2 - 2)", False),
        ("(5 + 3) / (2 - 2)", False),
        ("-5 + 3 * 7", False),
        ("2 ** 4", False),
        ("16", False),
        ("", False),
        ("I do not know", False),
        ("So the answer is .", False),
    ],
)
def test_known_answers(text: str, grade: bool) -> None:
    assert check([5, 3, 2], 16, text) is grade


def test_fractions_are_exact_and_numbers_are_counted() -> None:
    assert check([8, 8, 3, 3], 24, "8 / (3 - 8 / 3)", all_numbers=True)
    assert not check([1, 3, 3], 1, "1 / 3 * 3 + 1 - 1")
    assert not check([10, 3], 3, "10 / 3")
    assert check([2, 2], 4, "2 + 2")
    assert not check([2, 3], 4, "2 + 2")
    assert check([2, 3, 7], 5, "2 + 3")
    assert not check([2, 3, 7], 5, "2 + 3", all_numbers=True)


def test_signs() -> None:
    assert check([5, 3], 2, "-3 + 5")
    assert check([-3, 5], 2, "5 + -3")
    assert not check([-3, 5], 2, "5 - 3")
    assert not check([3, 5], 2, "5 - 3 - -3")
    assert check([3, -3, 5], 5, "5 + 3 + -3")


def test_a_wrong_step_line_spoils_the_grade_but_not_the_check() -> None:
    problem = generate(random.Random(1))
    solution = problem.metadata["solution"]
    first = solution.split("\n")[0]
    left, _, result = first.rpartition(" ")
    spoiled = solution.replace(first, f"{left} {int(result) + 1}")
    assert countdown.grade(problem, solution)
    assert not countdown.grade(problem, spoiled)
    assert check(problem.metadata["numbers"], problem.metadata["target"], spoiled)


def test_equal_answers_get_one_vote() -> None:
    problem = generate(random.Random(1))
    texts = ["(5 + 3) * 2", "So the answer is 2 * (3 + 5) = 16.", r"\boxed{2 \times (5 + 3)}"]
    assert len({countdown.answer_of(problem, text) for text in texts}) == 1
    assert countdown.answer_of(problem, "no idea") is None


@given(st.text(max_size=300) | st.text("0123456789+-*/()=. \n<answer>\\boxed{}", max_size=300))
def test_no_text_upsets_the_judge(text: str) -> None:
    problem = generate(random.Random(2))
    assert countdown.grade(problem, text) in (True, False)
    answer = countdown.answer_of(problem, text)
    assert answer is None or parse(answer) is not None


@pytest.mark.parametrize("unit", ["(", "<answer>", "\\boxed{", "answer is ", "1 = 1\n", "9**"])
def test_long_hostile_texts_are_judged_soon(unit: str) -> None:
    problem = generate(random.Random(2))
    begin = time.perf_counter()
    for length in (countdown.MAX_TEXT - len(unit), 5_000_000):
        assert not countdown.grade(problem, unit * (length // len(unit)))
    assert time.perf_counter() - begin < 3


def test_streams_have_no_repeats_and_both_sizes() -> None:
    drawn = list(itertools.islice(countdown.problems("test", 3), 2000))
    assert len({problem.id for problem in drawn}) == len(drawn)
    sizes = Counter(len(problem.metadata["numbers"]) for problem in drawn)
    assert min(sizes[size] for size in DEFAULT.sizes) > 800
    used = Counter(op for problem in drawn for op in re.findall(r"[-+*/]", problem.answer))
    assert all(used[op] > 100 for op in "+-*/")


# --- real data ----------------------------------------------------------------------------


def answers_to(folder: Path, puzzle: str) -> Iterator[tuple[list[int], int, dict[str, object]]]:
    """Yield numbers, target and each real model's answer to a puzzle of reasoning-gym."""
    for file in sorted((folder / "rg_puzzles").glob(f"*__{puzzle}.json")):
        for result in json.loads(file.read_text())["results"]:
            question = result["question"].split("\n")[0]
            found = list(map(int, re.findall(r"\d+", question)))
            if puzzle == "puzzle24":
                target, numbers = found[0], found[1:]
            elif re.match("Using", question):
                *numbers, target = found
            else:
                target, *numbers = found
            for completion in result["completions"]:
                yield numbers, target, completion


@pytest.mark.parametrize(
    ("puzzle", "num_kept", "num_refused"), [("countdown", 136, 6), ("puzzle24", 310, 7)]
)
def test_credited_answers_are_kept_unless_they_reuse_a_number(
    shared_data: Path, puzzle: str, num_kept: int, num_refused: int
) -> None:
    kept = refused = 0
    for numbers, target, completion in answers_to(shared_data, puzzle):
        if completion["score"] != 1.0:
            continue
        answer, text = str(completion["model_answer"]), str(completion["full_model_response"])
        reused = Counter(map(int, re.findall(r"\d+", answer))) - Counter(numbers)
        assert check(numbers, target, answer) is not bool(reused), (numbers, target, answer)
        assert check(numbers, target, text) is not bool(reused), (numbers, target, text)
        kept, refused = kept + (not reused), refused + bool(reused)
    assert (kept, refused) == (num_kept, num_refused)


def test_published_puzzles_have_solutions_that_pass(shared_data: Path) -> None:
    lines = (shared_data / "countdown" / "countdown_cd3_test.jsonl").read_text().splitlines()
    for row in map(json.loads, lines):
        numbers, target = [int(number) for number in row["input"].split(",")], int(row["output"])
        solution = solve(numbers, target)
        assert solution is not None, row
        assert check(numbers, target, f"{solution} = {target}", all_numbers=True)
        assert not check(numbers, target + 1, solution)
        assert not check(numbers[1:], target, solution)
