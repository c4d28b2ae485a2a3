"""Exact verifiers: the task's own truth, and 0.5 for what it does not know."""

from collections.abc import Iterator

import pytest

from system2.core import Problem, ScoreRequest, Split, Task, Tokens, UserError
from system2.engine.tokenizer import Tokenizer
from system2.verify.exact import (
    EXACT_VERIFIERS,
    OptimalVerifier,
    OracleVerifier,
    exact_verifier,
)

PROBLEM = Problem("one", "Tom has 4 + 5 apples.", "9", "toy")


def none(split: Split, seed: int) -> Iterator[Problem]:
    del split, seed
    return iter(())


def toy(grades: dict[str, bool | None], optimal: dict[str, float | None] | None = None) -> Task:
    """A task that knows some texts; of another it is not asked."""
    return Task(
        "toy",
        none,
        grade=lambda problem, text: grades[text.strip()],
        answer_of=lambda problem, text: None,
        optimal=None if optimal is None else lambda problem, text: optimal[text.strip()],
    )


def prefix(tokenizer: Tokenizer, text: str, *, ended: bool) -> Tokens:
    end = (min(tokenizer.eos),) if ended else ()
    return tokenizer.prompt(PROBLEM.prompt) + tokenizer.encode(text) + end


def test_an_oracle_grades_what_is_finished_and_nothing_else(small_tokenizer: Tokenizer) -> None:
    task = toy({"9": True, "5": False, "3": None})
    texts = [("9", True), ("5", True), ("3", True), ("9", False), ("", False)]
    asked = [prefix(small_tokenizer, text, ended=ended) for text, ended in texts]
    requests = [ScoreRequest(PROBLEM, tuple(asked)), ScoreRequest(PROBLEM, ())]
    oracle = OracleVerifier(task, small_tokenizer)
    assert oracle.score(requests) == [[1.0, 0.0, 0.5, 0.5, 0.5], []]


def test_optimal_reads_what_is_unfinished_and_grades_the_rest(small_tokenizer: Tokenizer) -> None:
    task = toy({"9": False, "5": None}, optimal={"": 1.0, "4": 0.25, "5": None, "9": 1.0})
    texts = [("", False), ("4", False), ("5", False), ("9", False), ("9", True), ("5", True)]
    asked = tuple(prefix(small_tokenizer, text, ended=ended) for text, ended in texts)
    verifier = OptimalVerifier(task, small_tokenizer)
    assert verifier.score([ScoreRequest(PROBLEM, asked)]) == [[1.0, 0.25, 0.5, 1.0, 0.0, 0.5]]


def test_what_does_not_begin_with_its_prompt_is_no_prefix(small_tokenizer: Tokenizer) -> None:
    oracle = OracleVerifier(toy({}), small_tokenizer)
    with pytest.raises(ValueError, match="problem one"):
        _ = oracle.score([ScoreRequest(PROBLEM, (small_tokenizer.encode("9"),))])


def test_a_task_without_a_solver_has_no_optimal_verifier(small_tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match="task toy has no exact solver"):
        _ = exact_verifier("optimal", toy({}), small_tokenizer)


@pytest.mark.parametrize("name", EXACT_VERIFIERS)
def test_a_server_has_no_task_to_be_exact_by(name: str, small_tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError, match=f"verifier {name} needs a task"):
        _ = exact_verifier(name, None, small_tokenizer)
    assert EXACT_VERIFIERS[name](toy({}, {}), small_tokenizer).score([]) == []
