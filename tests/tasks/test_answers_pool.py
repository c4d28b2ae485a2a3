"""Algebra on answers: what it decides, and that nothing hostile hangs or crashes the caller."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from system2.tasks import answers_pool
from system2.tasks.answers import extract_answer, grade_answer, grade_answers, normal_form

REPOSITORY = Path(__file__).resolve().parents[2]
ENDLESS = "9^{9^{9^{9^{9}}}}"
ALGEBRA = [
    (r"2\sqrt{3}", r"\sqrt{12}", True),
    ("(x+1)^2", "x^2+2x+1", True),
    ("$x^2+2x+1$", "$y^2+2y+1$", False),
    ("sqrt(12)", r"2\sqrt{3}", True),
    ("1.4142", r"\sqrt{2}", True),
    ("1.41", r"\sqrt{2}", False),
    ("3.14", r"\pi", False),
    (r"\sin^2 x + \cos^2 x", "1", True),
    (r"\log_2 8", "3", True),
    ("2x+4y-3=0", r"y=-\frac{1}{2}x+\frac{3}{4}", True),
    ("y = 0.5x + 1", r"y=\frac{1}{2}x+1", True),
    (r"e^{i\pi}", "-1", True),
    (r"1-\frac{1}{e}", r"1+\frac{1}{e}", False),
    (r"\binom{n}{2}", r"\frac{n(n-1)}{2}", True),
    (r"\left(\frac{\pi}{2}, 2\right)", "(1.5708, 2)", True),
    ("ab", "ba", True),
    ("aB", "ab", False),
]
HUGE = {
    "deep brackets": "(" * 100_000 + "1" + ")" * 100_000,
    "deep boxes": "\\boxed{" * 100_000 + "1" + "}" * 100_000,
    "tower of fractions": "\\frac{1}{" * 50_000 + "1" + "}" * 50_000,
    "a letter": "a" * 2_000_000,
    "digits": "1" * 2_000_000,
    "blanks": "answer" + " " * 2_000_000,
    "markers": "the answer is " * 150_000,
    "dollars": "$" * 1_000_000,
    "openings": "\\(" * 500_000,
    "links": "\\boxed{1}" + "a" * 70 + "! \\boxed{2}",
    "quotes": "\\text{a}" * 300,
    "approximations": "x\\approx " * 300,
    "commas": "\\boxed{" + "1," * 1_000_000 + "}",
    "NUL": "\0" * 1_000_000,
    "surrogates": "\ud800" * 1_000_000,
}


def seconds_of_work() -> float:
    """Processor time of this process: fair where the machine is crowded."""
    return time.process_time()


@pytest.mark.parametrize(("prediction", "gold", "expected"), ALGEBRA)
def test_algebra_tells_equal_from_different(prediction: str, gold: str, expected: bool) -> None:
    assert grade_answer(prediction, gold) is expected
    assert grade_answer(gold, prediction) is expected


def test_an_endless_computation_cannot_be_judged_and_the_next_one_can() -> None:
    assert grade_answer(f"\\boxed{{{ENDLESS}}}", "18", timeout_s=0.2) is None
    assert grade_answer(r"2\sqrt{3}", r"\sqrt{12}") is True


def test_too_much_memory_cannot_be_judged_or_is_wrong() -> None:
    assert grade_answer("10^{10^{10}} + x", "x^2", timeout_s=1) is not True


@pytest.mark.parametrize("text", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("gold", ["18", "(1,2)", "Evelyn", "C"])
def test_huge_texts_are_graded_in_time(text: str, gold: str) -> None:
    start = seconds_of_work()
    assert grade_answer(text, gold, timeout_s=0.2) is not True
    assert grade_answer("18", text, timeout_s=0.2) in (False, None)
    normal_form(text)
    extract_answer(text)
    assert seconds_of_work() - start < 5


def test_many_threads_share_the_workers() -> None:
    grades: list[bool | None] = []

    def grade(number: int) -> None:
        for other in (number, number + 1):
            grades.append(grade_answer(f"{number}\\sqrt{{3}}", f"\\sqrt{{{3 * other * other}}}"))

    threads = [threading.Thread(target=grade, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, grades)) == ["False"] * 8 + ["True"] * 8


def test_a_killed_worker_is_replaced() -> None:
    assert grade_answer("2x", "x+x") is True
    answers_pool.close()
    assert grade_answer("3x", "x+2x") is True


def test_pairs_are_graded_in_order_and_lazily() -> None:
    asked: list[int] = []

    def pairs() -> list[tuple[str, str]]:
        return [("18", "18"), (r"\sqrt{12}", r"2\sqrt{3}"), (ENDLESS, "x"), ("3", "4"), ("y", "x")]

    def ask() -> object:
        for number, pair in enumerate(pairs() * 100):
            asked.append(number)
            yield pair

    grades = grade_answers(ask(), timeout_s=0.2)  # type: ignore[arg-type]
    assert next(grades) is True
    assert len(asked) == 1
    grades.close()
    assert list(grade_answers(pairs(), timeout_s=0.2)) == [True, True, None, False, False]


def _grade_in_child(queue: "multiprocessing.Queue[bool | None]") -> None:
    queue.put(grade_answer(r"3\sqrt{3}", r"\sqrt{27}"))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_daemonic_child_process_can_grade(method: str) -> None:
    assert grade_answer("2x", "x+x") is True
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_grade_in_child, args=(queue,), daemon=True)
    child.start()
    assert queue.get(timeout=200) is True
    child.join()
    assert grade_answer("3x", "x+2x") is True


def test_a_main_module_without_a_guard_can_grade_and_leaves_no_process_behind() -> None:
    script = (
        "from system2.tasks import answers_pool\n"
        "from system2.tasks.answers import grade_answer\n"
        "print(grade_answer('2x', 'x+x'), *answers_pool.process_ids())\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-"],
        input=script,
        text=True,
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    grade, process = done.stdout.split()
    assert grade == "True"
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)
