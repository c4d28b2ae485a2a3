"""What every task keeps: gold accepted, wrong refused, splits that never meet."""

import itertools
import json
import random
import re
from collections.abc import Iterator
from dataclasses import asdict

import pytest

from system2.core import SPLITS, Problem, Split, Task, UserError
from system2.tasks import TASKS, countdown, find_task
from system2.tasks.splits import draw_split

NUM_PROBLEMS = 150
NUM_DRAWS = 1_000_000

every_task = pytest.mark.parametrize("name", TASKS)


@pytest.fixture(autouse=True)
def at_data(request: pytest.FixtureRequest) -> Iterator[None]:
    """Files are needed by some tasks only."""
    if getattr(request.node, "callspec", None) is None:
        yield
        return
    if request.node.callspec.params["name"] in ("gsm8k", "math", "math500", "game24_file"):
        folder = request.getfixturevalue("shared_data")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SYSTEM2_DATA", str(folder))
            yield
    else:
        yield


def drawn(task: Task, split: Split, seed: int, n: int = NUM_PROBLEMS) -> list[Problem]:
    return list(itertools.islice(task.problems(split, seed), n))


@every_task
def test_gold_is_accepted_and_wrong_is_refused(name: str) -> None:
    task = find_task(name)
    for split in SPLITS:
        problems = drawn(task, split, 0, 40)
        for problem, other in itertools.pairwise(problems):
            assert task.grade(problem, f"So the answer is {problem.answer}."), problem
            if problem.answer != other.answer:
                # Another problem's answer may be worth as much, in MATH; then it may be unjudged.
                wrong = task.grade(problem, f"So the answer is {other.answer}.")
                assert not wrong or name.startswith("math"), (problem, other)
            assert not task.grade(problem, "")
            assert not task.grade(problem, "I do not know.")


@every_task
def test_the_reference_solution_is_accepted(name: str) -> None:
    task = find_task(name)
    solved = [p for p in drawn(task, "test", 0, 40) if "solution" in p.metadata]
    assert len(solved) == 40
    for problem in solved:
        solution = problem.metadata["solution"]
        assert task.grade(problem, solution), problem
        assert task.answer_of(problem, solution) is not None
        if not name.startswith("math"):
            assert re.search(rf"So the answer is {re.escape(problem.answer)}\.$", solution)


@every_task
def test_one_answer_gets_one_vote(name: str) -> None:
    task = find_task(name)
    for problem in drawn(task, "validation", 0, 40):
        plain = task.answer_of(problem, f"So the answer is {problem.answer}.")
        boxed = task.answer_of(problem, rf"It follows that $\boxed{{{problem.answer}}}$.")
        assert plain == boxed is not None
        assert task.answer_of(problem, "") is None


@every_task
def test_splits_are_disjoint_across_seeds(name: str) -> None:
    task = find_task(name)
    by_split = {
        split: {problem.prompt for seed in range(3) for problem in drawn(task, split, seed)}
        for split in SPLITS
    }
    for one, other in itertools.combinations(by_split.values(), 2):
        assert not one & other


@every_task
def test_a_stream_repeats_itself_and_nothing_in_it(name: str) -> None:
    task = find_task(name)
    for split in SPLITS:
        problems = drawn(task, split, 7)
        assert problems == drawn(task, split, 7)
        assert len({problem.id for problem in problems}) == len(problems)
        assert len({problem.prompt for problem in problems}) == len(problems)
        assert problems != drawn(task, split, 8)


@every_task
def test_problems_survive_json(name: str) -> None:
    task = find_task(name)
    for split in SPLITS:
        for problem in drawn(task, split, 0, 30):
            written = asdict(problem) | {"metadata": dict(problem.metadata)}
            again = Problem(**json.loads(json.dumps(written)))
            assert again == problem
            assert find_task(problem.task).grade(again, f"So the answer is {problem.answer}.")


@every_task
def test_an_unknown_split_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="unknown split"):
        next(find_task(name).problems("dev", 0))  # pyright: ignore[reportArgumentType]


def test_an_unknown_task_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"unknown task 'sums'.*countdown.*reasoning_gym/NAME"):
        find_task("sums")


def test_a_million_draws_stay_disjoint() -> None:
    """Count the candidates that the streams of three seeds a split draw, the refused ones too."""
    # So few problems are there with these dials that every stream meets most of them.
    dials = countdown.Difficulty(sizes=(2,), max_number=300, max_target=600)
    contents: dict[Split, set[str]] = {split: set() for split in SPLITS}
    num_drawn = 0

    def make(rng: random.Random) -> str:
        nonlocal num_drawn
        num_drawn += 1
        return countdown.draw(rng, dials).content

    streams = [(split, seed) for split in SPLITS for seed in range(3)]
    for number, (split, seed) in enumerate(streams, start=1):
        stream = draw_split(countdown.NAME, split, seed, make, str)
        while num_drawn < NUM_DRAWS * number / len(streams):
            contents[split].add(next(stream))
    assert num_drawn >= NUM_DRAWS
    for one, other in itertools.combinations(contents.values(), 2):
        assert len(one) > 5_000
        assert not one & other
