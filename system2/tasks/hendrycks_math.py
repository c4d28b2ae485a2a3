"""MATH: competition mathematics (arXiv 2103.03874), read from its own files.

Splits: the published training part gives a tenth, chosen by hash, to "validation" and the rest
to "train"; a problem that the test part holds too is left out of both. "test" of the task `math`
is the whole published test part (5,000 problems); of `math500` it is the 500 of them that are
used to compare models (arXiv 2305.20050), with the same training part.
"""

from collections.abc import Iterator
from functools import partial

from system2.core import Problem, Split, Task, UserError
from system2.tasks.answers import extract_answer, grade_answer, normal_form
from system2.tasks.data_files import Row, Source, problem_id, split_published
from system2.tasks.statements import last_boxed

NAME = "math"
TRAIN = Source("math/train_answers.json", "EleutherAI/hendrycks_math", "*/train-*.parquet")
TEST = Source("math/test.jsonl", "EleutherAI/hendrycks_math", "*/test-*.parquet")
TEST_500 = Source("math/math500.jsonl", "HuggingFaceH4/MATH-500", "test.jsonl")


def _problem(row: Row) -> Problem | None:
    """Return the problem of a row, None where the row states no answer.

    A row has its answer in a field of its own or in its solution's last `\\boxed{}`.
    """
    if "problem" not in row:
        raise UserError(f"a MATH row lacks 'problem'; it has {', '.join(row)}")
    prompt, solution = str(row["problem"]), row.get("solution")
    answer = row.get("answer") or (solution and last_boxed(solution))
    if not answer:
        return None
    metadata = {"subject": row.get("subject") or row.get("type"), "level": row.get("level")}
    known = {key: value for key, value in metadata.items() if value is not None}
    if solution:
        known["solution"] = solution
    return Problem(
        id=problem_id(NAME, prompt), prompt=prompt, answer=str(answer), task=NAME, metadata=known
    )


def _problems(test: Source, split: Split, seed: int) -> Iterator[Problem]:
    return split_published(split, seed, TRAIN, test, _problem)


def grade(problem: Problem, text: str) -> bool | None:
    """Return whether a text ends in the problem's answer; None: it cannot be judged."""
    return grade_answer(text, problem.answer)


def answer_of(problem: Problem, text: str) -> str | None:
    """Return the final answer of a text in a normal form, None where there is none."""
    del problem
    answer = extract_answer(text)
    return None if answer is None else normal_form(answer)


TASK = Task(NAME, partial(_problems, TEST), grade, answer_of)
TASK_500 = Task("math500", partial(_problems, TEST_500), grade, answer_of)
