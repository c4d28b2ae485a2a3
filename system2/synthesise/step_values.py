"""Monte-Carlo labels: how often a policy ends right from each step of a solution.

Place in the flow: problems -> attempts of the policy (or reference solutions), cut into steps at
the task's `step_stop` -> each distinct prefix finished several times, graded -> one
`LabelledSolution` an attempt -> `train/process.py`, which makes a process verifier of them.

Source: Math-Shepherd (arXiv 2312.08935, section 3.3) and Meta-CoT (arXiv 2501.04682, section
5.2: 16 rollouts a step, soft targets). We differ: the bare problem is labelled too, a prefix that
attempts share is rolled out once, and the counts are kept beside the share, so that hard labels
(right if any rollout is) need no second file.

A row of a labels file, which holds no tokens so that any policy can learn from it:

    problem   {id, task, prompt, answer, metadata}
    steps     the solution's text cut into steps; joined, they are the whole text
    values    after each step, the share in [0, 1] that ended right; null: not known
    right     after each step, how many ended right; null: not counted
    rollouts  after each step, of how many that could be judged; null: not counted
    before    {value, right, rollouts} of the problem alone; null: not known
    finished  whether the attempt came to an end of its own; its last step then has the grade
              itself, as one rollout. One that was cut short has its last, broken step left out
    grade     whether the whole is right; null: it could not be judged, or was cut short
    source    "sampled", "reference", or where another format's row came from
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, cast

from system2.core import (
    Problem,
    SampleRequest,
    SamplingParams,
    Task,
    Tokens,
    UserError,
    derive_seed,
)
from system2.engine.local import LocalPolicy
from system2.engine.processes import ProcessPolicy
from system2.engine.steps import StepEnds
from system2.store import problem_of, problem_row
from system2.synthesise.conversations import conversation

CHUNK = 32
"""Problems whose rollouts are batched together, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class StepLabel:
    """The share of right ends in [0, 1] after a step, and the counts it comes of.

    `value` None: not known; the counts None: not counted (somebody said so).
    Raises: `ValueError` on numbers that are none, or contradict each other.
    """

    value: float | None
    num_right: int | None = None
    num_rollouts: int | None = None

    def __post_init__(self) -> None:
        value, right, rollouts = self.value, self.num_right, self.num_rollouts
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"value is {value}; it must lie in [0, 1]")
        if (right is None) != (rollouts is None):
            raise ValueError("right and rollouts are counted together, or neither is")
        if right is None or rollouts is None:
            return
        if not 0 <= right <= rollouts:
            raise ValueError(f"{right} right of {rollouts} rollouts: not a count")
        share = right / rollouts if rollouts else None
        if share != value and (share is None or value is None or abs(share - value) > 1e-6):
            raise ValueError(f"value is {value}, but {right} of {rollouts} rollouts are right")


UNKNOWN = StepLabel(None)
"""Nothing is known after this step."""


@dataclass(frozen=True, slots=True)
class LabelledSolution:
    """A solution cut into steps (joined, they are its text) with what is known after each.

    `before` labels the problem alone. The other fields are those of a labels file's row.
    Raises: `ValueError` where steps and labels differ in number.
    """

    problem: Problem
    steps: tuple[str, ...]
    labels: tuple[StepLabel, ...]
    before: StepLabel = UNKNOWN
    is_finished: bool = True
    grade: bool | None = None
    source: str = "sampled"

    def __post_init__(self) -> None:
        if len(self.steps) != len(self.labels):
            raise ValueError(f"{len(self.steps)} steps but {len(self.labels)} values")


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """How to label: `attempts` of the policy a problem, and with `has_reference` its solution.

    Each distinct prefix is finished `rollouts` times at `temperature` and `top_p`, by at most
    `max_tokens` tokens, as are the attempts. Raises: `UserError` on a value out of its range.
    """

    attempts: int = 4
    has_reference: bool = False
    rollouts: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if self.attempts < 0 or self.per_problem < 1:
            raise UserError(
                f"attempts is {self.attempts}; use at least 1, or 0 with the reference solution"
            )
        if self.rollouts < 1:
            raise UserError(f"rollouts is {self.rollouts}; it must be at least 1")
        if self.temperature == 0 and self.rollouts > 1:
            raise UserError("temperature 0 makes all rollouts the same; use --rollouts 1, or more")
        _ = self.params

    @property
    def per_problem(self) -> int:
        """How many labelled solutions there are of a problem."""
        return self.attempts + self.has_reference

    @property
    def params(self) -> SamplingParams:
        """How attempts and rollouts are drawn."""
        return SamplingParams(self.max_tokens, self.temperature, self.top_p)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A solution to label: its tokens after the prompt, and how many are up to each step's end."""

    tokens: Tokens
    ends: tuple[int, ...]
    is_finished: bool
    source: str


@dataclass(slots=True)
class _Asked:
    """A problem of a chunk: its prompt, its attempts, and what is known after prefixes."""

    problem: Problem
    prompt: Tokens
    attempts: list[_Attempt]
    labels: dict[Tokens, StepLabel] = field(default_factory=dict[Tokens, StepLabel])
    grades: dict[str, bool | None] = field(default_factory=dict[str, bool | None])

    def grade(self, task: Task, text: str) -> bool | None:
        """Return a text's grade; rollouts repeat themselves, so it is remembered."""
        if text not in self.grades:
            self.grades[text] = task.grade(self.problem, text)
        return self.grades[text]


def label_steps(
    policy: LocalPolicy | ProcessPolicy,
    task: Task,
    problems: Iterable[Problem],
    config: LabelConfig,
    *,
    chunk: int = CHUNK,
) -> Iterator[LabelledSolution]:
    """Yield `config.per_problem` labelled solutions a problem, in order; the reference is last.

    Problems go through in chunks, all rollouts of a chunk in one call. Every draw is seeded by
    problem and prefix, so chunks of another size give the same labels.
    Raises: `UserError` where a reference solution is asked for and there is none.
    """
    iterator = iter(problems)
    while batch := list(islice(iterator, chunk)):
        policy.forget()  # what ran before decides how sums are rounded
        asked = _attempted(policy, task, batch, config)
        _roll_out(policy, task, asked, config)
        for one in asked:
            for attempt in one.attempts:
                yield _labelled(policy, task, one, attempt)


def _attempted(
    policy: LocalPolicy | ProcessPolicy,
    task: Task,
    problems: Sequence[Problem],
    config: LabelConfig,
) -> list[_Asked]:
    """Return problems with their attempts: drawn ones, then the reference."""
    tokenizer, step_ends = policy.tokenizer, StepEnds(policy.tokenizer, task.step_stop)
    asked = [_Asked(problem, tokenizer.prompt(problem.prompt), []) for problem in problems]
    if config.attempts:
        requests = [
            SampleRequest(
                (one.prompt,),
                config.attempts,
                config.params,
                derive_seed("attempts to label", config.seed, one.problem.id),
            )
            for one in asked
        ]
        for one, (drawn,) in zip(asked, policy.sample(requests), strict=True):
            for c in drawn:
                ends = tuple(step_ends.ends(c.tokens))
                one.attempts.append(_Attempt(c.tokens, ends, c.finish_reason == "eos", "sampled"))
    for one in asked if config.has_reference else ():
        solution = one.problem.metadata.get("solution")
        if not isinstance(solution, str):
            raise UserError(f"problem {one.problem.id} has no reference solution to label")
        talk = conversation(tokenizer, one.problem.prompt, solution)
        tokens = talk.tokens[talk.start : talk.end]
        ends = step_ends.ends(tokens)
        whole = ends if ends and ends[-1] == len(tokens) else [*ends, len(tokens)]
        one.attempts.append(_Attempt(tokens, tuple(whole), True, "reference"))
    return asked


def _roll_out(
    policy: LocalPolicy | ProcessPolicy, task: Task, asked: Sequence[_Asked], config: LabelConfig
) -> None:
    """Finish each distinct prefix, none that ends its attempt, and write down its label."""
    decode = policy.tokenizer.decode
    rolled: list[tuple[_Asked, Tokens]] = []
    for one in asked:
        distinct = {(): None}
        for attempt in one.attempts:
            open_ends = attempt.ends[:-1] if attempt.is_finished else attempt.ends
            distinct |= {attempt.tokens[:end]: None for end in open_ends}
        rolled += [(one, prefix) for prefix in sorted(distinct)]  # neighbours share their keys
    requests = [
        SampleRequest(
            ((*one.prompt, *prefix),),
            config.rollouts,
            config.params,
            derive_seed("rollouts to label", config.seed, one.problem.id, prefix),
        )
        for one, prefix in rolled
    ]
    for (one, prefix), (drawn,) in zip(rolled, policy.sample(requests), strict=True):
        grades = [
            # one that was cut short has not ended right
            c.finish_reason == "eos" and one.grade(task, decode((*prefix, *c.tokens)))
            for c in drawn
        ]
        judged = [grade for grade in grades if grade is not None]
        one.labels[prefix] = _label(sum(judged), len(judged))


def _label(num_right: int, num_judged: int) -> StepLabel:
    value = num_right / num_judged if num_judged else None
    return StepLabel(value, num_right, num_judged)


def _labelled(
    policy: LocalPolicy | ProcessPolicy, task: Task, one: _Asked, attempt: _Attempt
) -> LabelledSolution:
    """Return an attempt with its labels."""
    decode = policy.tokenizer.decode
    labels = [one.labels.get(attempt.tokens[:end], UNKNOWN) for end in attempt.ends]
    grade = None
    if attempt.is_finished:
        text = decode(attempt.tokens)
        if attempt.source == "reference":  # as it was written, not as it was cut into tokens
            text = str(one.problem.metadata["solution"])
        grade = one.grade(task, text)
        labels[-1] = _label(int(grade is True), int(grade is not None))
    # cut out of the whole text: a step alone may be read otherwise (without its first space)
    texts = ["", *(decode(attempt.tokens[:end]) for end in attempt.ends)]
    return LabelledSolution(
        problem=one.problem,
        steps=tuple(text[len(before) :] for before, text in pairwise(texts)),
        labels=tuple(labels),
        before=one.labels[()],
        is_finished=attempt.is_finished,
        grade=grade,
        source=attempt.source,
    )


# Rows of a labels file


def label_row(solution: LabelledSolution) -> dict[str, Any]:
    """Return a labelled solution as a row of a labels file (see the head of this module)."""
    return {
        "problem": problem_row(solution.problem),
        "steps": list(solution.steps),
        "values": [label.value for label in solution.labels],
        "right": [label.num_right for label in solution.labels],
        "rollouts": [label.num_rollouts for label in solution.labels],
        "before": _row_of(solution.before),
        "finished": solution.is_finished,
        "grade": solution.grade,
        "source": solution.source,
    }


def _row_of(label: StepLabel) -> dict[str, Any] | None:
    if label == UNKNOWN:
        return None
    return {"value": label.value, "right": label.num_right, "rollouts": label.num_rollouts}


def labelled_solution(row: Mapping[str, Any], where: str = "labels") -> LabelledSolution:
    """Return the labelled solution that a row of a labels file holds.

    "problem", "steps" and "values" must be there. Raises: `UserError` that starts with `where`
    and names what is missing or wrong.
    """
    asked: object = row.get("problem")
    if not isinstance(asked, dict):
        raise UserError(f'{where}: its "problem" is no object; it has {sorted(row)}')
    problem = problem_of(cast(dict[str, Any], asked), f"{where}, problem")
    steps = texts_of(row.get("steps"), f"{where}: steps")
    values = _list_of(row.get("values"), len(steps), f"{where}: values")
    right = _list_of(row.get("right", [None] * len(steps)), len(steps), f"{where}: right")
    rollouts = _list_of(row.get("rollouts", [None] * len(steps)), len(steps), f"{where}: rollouts")
    before: object = row.get("before")
    if before is not None and not isinstance(before, dict):
        raise UserError(f'{where}: its "before" is no object')
    first = cast(dict[str, Any], before or {})
    finished, grade, source = row.get("finished", True), row.get("grade"), row.get("source", "")
    if not isinstance(finished, bool) or not (grade is None or isinstance(grade, bool)):
        raise UserError(f"{where}: finished is {finished!r} and grade {grade!r}; true, false, null")
    if not isinstance(source, str):
        raise UserError(f"{where}: source is {source!r}, not a text")
    return LabelledSolution(
        problem=problem,
        steps=steps,
        labels=tuple(
            step_label(*numbers, f"{where}, step {number}")
            for number, numbers in enumerate(zip(values, right, rollouts, strict=True), start=1)
        ),
        before=step_label(
            first.get("value"), first.get("right"), first.get("rollouts"), f"{where}, before"
        ),
        is_finished=finished,
        grade=grade,
        source=source,
    )


def step_label(value: object, right: object, rollouts: object, where: str) -> StepLabel:
    """Return a label of what was read from a file. Raises: `UserError` starting with `where`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not is_number:
        raise UserError(f"{where}: value is {value!r}, not a number in [0, 1]")
    for name, count in (("right", right), ("rollouts", rollouts)):
        if count is not None and (not isinstance(count, int) or isinstance(count, bool)):
            raise UserError(f"{where}: {name} is {count!r}, not a count")
    try:
        return StepLabel(
            cast(float | None, value), cast(int | None, right), cast(int | None, rollouts)
        )
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def texts_of(found: object, where: str) -> tuple[str, ...]:
    """Return a list of texts read from a file. Raises: `UserError` starting with `where`."""
    if not isinstance(found, list):
        raise UserError(f"{where}: is {type(found).__name__}, not a list of texts")
    texts = cast(list[object], found)
    for text in texts:
        if not isinstance(text, str):
            raise UserError(f"{where}: holds {text!r}, not a text")
    return tuple(cast(list[str], texts))


def _list_of(found: object, length: int, where: str) -> list[Any]:
    if not isinstance(found, list) or len(cast(list[Any], found)) != length:
        raise UserError(f"{where}: needs a list with an entry a step ({length})")
    return cast(list[Any], found)
