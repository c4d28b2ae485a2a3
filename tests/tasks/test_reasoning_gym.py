"""Datasets of reasoning-gym as tasks: seeds that do not overlap, strict grades, safe scoring."""

import itertools
import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from system2.core import Problem, Split, Task, UserError
from system2.tasks import find_task
from system2.tasks.reasoning_gym import reasoning_gym_task

pytest.importorskip("reasoning_gym")

DATASETS = [
    "acre",
    "chain_sum",
    "countdown",
    "gsm_symbolic",
    "isomorphic_strings",
    "letter_counting",
    "list_functions",
    "maze",
    "mini_sudoku",
    "n_queens",
    "polynomial_multiplication",
    "pool_matrix",
    "ransom_note",
    "rearc",
    "spiral_matrix",
    "tower_of_hanoi",
    "word_ladder",
]


def drawn(task: Task, split: Split, seed: int, n: int) -> list[Problem]:
    return list(itertools.islice(task.problems(split, seed), n))


@pytest.mark.parametrize("name", DATASETS)
def test_gold_is_accepted_and_the_next_problems_is_not(name: str) -> None:
    task = find_task(f"reasoning_gym/{name}")
    problems = drawn(task, "train", 0, 4)
    assert json.loads(json.dumps(problems[0].metadata)) == problems[0].metadata
    for problem in problems:
        assert problem.task == task.name
        assert task.grade(problem, problem.answer)
        assert task.grade(problem, f"Let me think.\n<answer>{problem.answer}</answer>")
        assert task.answer_of(problem, problem.answer) is not None
        assert not task.grade(problem, "")
    for problem, other in itertools.permutations(problems, 2):
        if problem.answer != other.answer and name not in ("tower_of_hanoi", "word_ladder"):
            assert not task.grade(problem, other.answer)


@pytest.mark.parametrize("name", ["list_functions", "polynomial_multiplication", "ransom_note"])
def test_streams_repeat_themselves_where_the_datasets_do_not(name: str) -> None:
    first, again = (drawn(find_task(f"reasoning_gym/{name}"), "train", 1, 5) for _ in range(2))
    assert first == again


def test_splits_and_neighbouring_seeds_do_not_meet() -> None:
    """Their own seeds 0 and 1 share all items but one."""
    task = reasoning_gym_task("chain_sum", min_terms=4, max_terms=6)
    prompts = {
        (split, seed): {problem.prompt for problem in drawn(task, split, seed, 60)}
        for split in ("train", "test")
        for seed in (0, 1)
    }
    for one, other in itertools.combinations(prompts.values(), 2):
        assert len(one) == 60
        assert not one & other


def test_configuration_reaches_the_dataset() -> None:
    task = reasoning_gym_task("chain_sum", min_terms=2, max_terms=2, min_digits=1, max_digits=1)
    for problem in drawn(task, "train", 0, 5):
        assert problem.metadata["item"]["num_terms"] == 2


@pytest.mark.parametrize(("name", "config"), [("no_such", {}), ("chain_sum", {"min_terms": 0})])
def test_what_reasoning_gym_refuses_is_one_clear_line(name: str, config: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"^reasoning_gym/{name}: .+$"):
        reasoning_gym_task(name, **config)


def test_numbers_may_not_be_reused_and_all_are_needed() -> None:
    task = find_task("reasoning_gym/countdown")
    item = {"numbers": [2, 2, 7], "target": 28}
    problem = Problem("c", "?", "", task.name, {"dataset": "countdown", "item": item})
    assert task.grade(problem, "<answer>2 * 2 * 7</answer>")
    assert not task.grade(problem, "2 * 2 * 7 + 7 - 7")
    item = {"numbers": [6, 4, 1, 1]}
    problem = Problem("p", "?", "", task.name, {"dataset": "puzzle24", "item": item})
    assert task.grade(problem, "6 * 4 / 1 * 1")
    assert not task.grade(problem, "6 * 4")
    assert not task.grade(problem, "6 * 4 + 6 - 6")


@pytest.mark.parametrize("name", ["simple_integration", "spiral_matrix", "n_queens"])
def test_answers_are_not_run_as_code(name: str, tmp_path: Path) -> None:
    task = find_task(f"reasoning_gym/{name}")
    (problem,) = drawn(task, "train", 0, 1)
    mark = tmp_path / "mark"
    for code in (
        f"__import__('os').system('touch {mark}')",
        f"[open('{mark}', 'w') for _ in [1]]",
        f"(lambda: open('{mark}', 'w'))()",
        f"x.__class__.__base__.__subclasses__(open('{mark}', 'w'))",
    ):
        assert not task.grade(problem, code)
    assert not mark.exists()


@pytest.mark.timeout(120)
def test_endless_scoring_is_cut_short_and_forgotten() -> None:
    task = find_task("reasoning_gym/simple_integration")
    (problem,) = drawn(task, "train", 0, 1)
    assert task.grade(problem, "(9**9)**(9**9)") is None
    assert task.grade(problem, problem.answer)


def _grade_in_child(problem: Problem) -> bool | None:
    return find_task(problem.task).grade(problem, problem.answer)


def test_threads_and_forked_children_may_grade() -> None:
    task = find_task("reasoning_gym/mini_sudoku")
    problems = drawn(task, "train", 0, 6)
    with ThreadPoolExecutor(4) as threads:
        golds = list(threads.map(lambda problem: task.grade(problem, problem.answer), problems))
    assert golds == [True] * len(problems)
    with multiprocessing.get_context("fork").Pool(1) as children:
        assert children.map(_grade_in_child, problems[:2]) == [True, True]
    assert task.grade(problems[0], problems[0].answer)
