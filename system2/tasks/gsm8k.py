"""GSM8K: 8.5 thousand grade-school word problems (arXiv 2110.14168), read from its own files.

Splits: "test" is the published test file (1,319 problems); the published training file (7,473)
gives a tenth, chosen by hash, to "validation" and the rest to "train".
"""

import re
from collections.abc import Iterator

from system2.core import Problem, Split, Task, UserError
from system2.tasks.answers import extract_answer, grade_answer, normal_form
from system2.tasks.data_files import Row, Source, problem_id, split_published

NAME = "gsm8k"
TRAIN = Source("gsm8k/train.jsonl", "openai/gsm8k", "main/train-*.parquet")
TEST = Source("gsm8k/test.jsonl", "openai/gsm8k", "main/test-*.parquet")

_ANNOTATION = re.compile(r"<<[^<>]*>>")
_OPERATOR = re.compile(r"(?<=[\d)%])\s*([-+*/×÷–−]|x(?=[\s$(.]*\d))\s*(?=[\d($.])")
_EQUALS = re.compile(r"\s*(?<![<>!])=\s*")


def reference_solution(answer: str) -> str:
    """Rewrite a published answer as one line that ends "So the answer is N." (LLM2's form).

    Calculator notes `<<...>>` go, operators between numbers get spaces round them, line breaks
    become spaces; N loses its thousands separators.
    Raises: `UserError` on an answer without "####".

    >>> reference_solution("He sold 48/2 = <<48/2=24>>24 clips.\\n#### 24")
    'He sold 48 / 2 = 24 clips. So the answer is 24.'
    """
    body, mark, final = _ANNOTATION.sub("", answer).rpartition("####")
    if not mark:
        raise UserError(f"a GSM8K answer lacks '####': {answer[-60:]!r}")
    spaced = _EQUALS.sub(" = ", _OPERATOR.sub(r" \1 ", body))
    return f"{' '.join(spaced.split())} So the answer is {_number(final)}."


def _number(final: str) -> str:
    return final.strip().replace(",", "")


def _problem(row: Row) -> Problem:
    try:
        question, answer = str(row["question"]), str(row["answer"])
    except KeyError as error:
        raise UserError(f"a GSM8K row lacks {error}; it has {', '.join(row)}") from error
    solution = reference_solution(answer)
    return Problem(
        id=problem_id(NAME, question),
        prompt=question,
        answer=_number(answer.rpartition("####")[2]),
        task=NAME,
        metadata={"solution": solution, "published_solution": answer},
    )


def problems(split: Split, seed: int) -> Iterator[Problem]:
    """Yield a split's problems; the seed only shuffles them (0: as published).

    Raises: `UserError` where the files can be found nowhere.
    """
    return split_published(split, seed, TRAIN, TEST, _problem)


def grade(problem: Problem, text: str) -> bool | None:
    """Return whether a text ends in the problem's answer; None: it cannot be judged."""
    return grade_answer(text, problem.answer)


def answer_of(problem: Problem, text: str) -> str | None:
    """Return the final answer of a text in a normal form, None where there is none."""
    del problem
    answer = extract_answer(text)
    return None if answer is None else normal_form(answer)


TASK = Task(name=NAME, problems=problems, grade=grade, answer_of=answer_of)
