"""Exact verifiers: a task's own truth in the place of a learned judge.

Place in the flow: they answer a search's `ScoreRequest` as any verifier does, by the task that
the problem is of; a bound to what a learned verifier could do, and the truth that it is measured
against. `OracleVerifier` knows how a finished attempt is graded; `OptimalVerifier` also whether
an unfinished one can still come right under perfect play (Meta-CoT, arXiv 2501.04682, section
5.2, compares with such an oracle). We differ: what is not known is 0.5, never 0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from system2.core import Problem, ScoreRequest, Task, Tokens, UserError, Verifier
from system2.engine.tokenizer import Tokenizer

UNKNOWN = 0.5
"""The value of what cannot be judged: neither right nor wrong."""


@dataclass(frozen=True, slots=True)
class OracleVerifier:
    """The task's grade of finished attempts: 1.0 right, 0.0 wrong, 0.5 not judged.

    A prefix that no end token ends is unfinished: 0.5.
    """

    task: Task
    tokenizer: Tokenizer
    name: str = "oracle"

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]`, each 0.0, 0.5 or 1.0."""
        return [_values(request, self.tokenizer, self._value) for request in requests]

    def _value(self, problem: Problem, text: str, *, is_finished: bool) -> float:
        return _graded(self.task, problem, text) if is_finished else UNKNOWN


@dataclass(frozen=True, slots=True)
class OptimalVerifier:
    """The value of a prefix under perfect play from there on; a finished attempt's grade.

    0.5 where the task cannot read the prefix.
    Raises: `UserError` where the task has no exact solver.
    """

    task: Task
    tokenizer: Tokenizer
    name: str = "optimal"

    def __post_init__(self) -> None:
        if self.task.optimal is None:
            raise UserError(
                f"task {self.task.name} has no exact solver, so no verifier optimal; "
                "oracle grades finished attempts of any task"
            )

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Return values `[r][p]` in [0, 1]."""
        return [_values(request, self.tokenizer, self._value) for request in requests]

    def _value(self, problem: Problem, text: str, *, is_finished: bool) -> float:
        if is_finished:
            return _graded(self.task, problem, text)
        assert self.task.optimal is not None, "refused when it was made"
        value = self.task.optimal(problem, text)
        return UNKNOWN if value is None else value


EXACT_VERIFIERS: Mapping[str, Callable[[Task, Tokenizer], Verifier]] = {
    "oracle": OracleVerifier,
    "optimal": OptimalVerifier,
}
"""The exact verifiers by the name that `--verifier` gives them."""


def exact_verifier(name: str, task: Task | None, tokenizer: Tokenizer) -> Verifier:
    """Return the exact verifier of a name (one of `EXACT_VERIFIERS`).

    Raises: `UserError` where there is no task (a server's problems have no known answer), or it
    lacks what the verifier needs.
    """
    if task is None:
        raise UserError(
            f"verifier {name} needs a task that knows the answers; name a verifier's folder"
        )
    return EXACT_VERIFIERS[name](task, tokenizer)


def completions_of(request: ScoreRequest, tokenizer: Tokenizer) -> list[Tokens]:
    """Return what each prefix of a request adds to its problem's prompt.

    Raises: `ValueError` where one does not begin with the prompt.
    """
    prompt = tokenizer.prompt(request.problem.prompt) if request.prefixes else ()
    for prefix in request.prefixes:
        if prefix[: len(prompt)] != prompt:
            name = request.problem.id
            raise ValueError(f"a prefix of problem {name} does not begin with its prompt")
    return [prefix[len(prompt) :] for prefix in request.prefixes]


def is_finished(tokens: Tokens, tokenizer: Tokenizer) -> bool:
    """Whether a token that ends completions ends these tokens."""
    return bool(tokens) and tokens[-1] in tokenizer.eos


def _values(
    request: ScoreRequest, tokenizer: Tokenizer, value: Callable[..., float]
) -> list[float]:
    found: list[float] = []
    for completion in completions_of(request, tokenizer):
        text = tokenizer.decode(completion)
        ended = is_finished(completion, tokenizer)
        found.append(value(request.problem, text, is_finished=ended))
    return found


def _graded(task: Task, problem: Problem, text: str) -> float:
    grade = task.grade(problem, text)
    return UNKNOWN if grade is None else float(grade)
