"""Measure verifiers against the truth: on prefixes whose true value is found by many rollouts.

Place in the flow: problems -> attempts of the policy, cut into steps -> every distinct prefix
with what each verifier says of it, its true value under the policy (the share of many rollouts
that end right) and, where the task has an exact solver, under perfect play -> the figures of
`calibration` and `first_errors`, and what best-of-N loses to a perfect choice.

Source: Meta-CoT (arXiv 2501.04682, section 5.2), which measures a verifier by its mean absolute
error to 128 rollouts and by best-of-N. We differ: the share has noise of its own, which is said.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from system2.core import (
    Problem,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
    Steps,
    Task,
    Tokens,
    UserError,
    Verifier,
    derive_seed,
)
from system2.engine.tokenizer import Tokenizer
from system2.evaluate import calibration
from system2.evaluate.calibration import Figure, Floats, Places, with_interval
from system2.evaluate.curves import best_of_k, pass_at_k
from system2.evaluate.first_errors import NO_ERROR, choose_threshold, first_errors
from system2.evaluate.metrics import mean_with_interval
from system2.evaluate.reading import Reading
from system2.evaluate.solve import AnyPolicy
from system2.evaluate.trees import powers_up_to
from system2.run import run
from system2.tree import Tree
from system2.verify.exact import is_finished

Prefix: TypeAlias = tuple[Problem, Tokens]
"""A problem, and what was added to its prompt."""


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """How many of the rollouts of a prefix that could be judged ended right.

    A finished prefix has its grade for each of its rollouts.
    """

    num_right: int
    num_judged: int

    @property
    def value(self) -> float | None:
        """The share in [0, 1]; None where no rollout could be judged."""
        return self.num_right / self.num_judged if self.num_judged else None


@dataclass(frozen=True, slots=True)
class MeasureConfig:
    """How to measure: `attempts` a problem, whose prefixes get `rollouts` each.

    Both are drawn at `temperature`, of at most `max_tokens` tokens.
    Raises: `UserError` on a count below 1.
    """

    attempts: int = 4
    rollouts: int = 64
    temperature: float = 1.0
    max_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        for name, count in (("attempts", self.attempts), ("rollouts", self.rollouts)):
            if count < 1:
                raise UserError(f"{name} is {count}; it must be at least 1")
        _ = self.params

    @property
    def params(self) -> SamplingParams:
        """How attempts and rollouts are drawn."""
        return SamplingParams(self.max_tokens, self.temperature)


def policy_values(
    policy: AnyPolicy,
    task: Task,
    prefixes: Sequence[Prefix],
    rollouts: int,
    *,
    params: SamplingParams | None = None,
    seed: int = 0,
) -> list[PolicyValue]:
    """Return the value of each prefix under the policy, by `rollouts` completions of it.

    All go through the engine in one batch, which runs shared prefixes once; equal prefixes are
    rolled out once. What a prefix's rollouts are depends on the seed and the prefix alone. One
    that comes to no end is wrong.
    Raises: `UserError` where a prefix leaves no room in the model's positions.
    """
    if rollouts < 1:
        raise UserError(f"rollouts is {rollouts}; it must be at least 1")
    drawn, tokenizer = params or SamplingParams(), policy.tokenizer
    known: dict[tuple[str, Tokens], PolicyValue] = {}
    begun: dict[tuple[str, Tokens], Problem] = {}
    for problem, completion in prefixes:
        key = (problem.id, completion)
        if is_finished(completion, tokenizer):
            grade = task.grade(problem, tokenizer.decode(completion))
            judged = 0 if grade is None else rollouts
            known[key] = PolicyValue(judged if grade else 0, judged)
        else:
            begun[key] = problem
    requests = [
        SampleRequest(
            (tokenizer.prompt(problem.prompt) + completion,),
            rollouts,
            drawn,
            derive_seed("policy value", seed, name, completion),
        )
        for (name, completion), problem in begun.items()
    ]
    answers = policy.sample(requests) if requests else []
    for (key, problem), (completions,) in zip(begun.items(), answers, strict=True):
        grades = [
            task.grade(problem, tokenizer.decode((*key[1], *found.tokens)))
            if found.finish_reason == "eos"
            else False
            for found in completions
        ]
        num_judged = sum(grade is not None for grade in grades)
        known[key] = PolicyValue(sum(grade is True for grade in grades), num_judged)
    return [known[problem.id, completion] for problem, completion in prefixes]


def measured(
    policy: AnyPolicy,
    task: Task,
    problems: Sequence[Problem],
    verifiers: Mapping[str, Verifier],
    config: MeasureConfig,
) -> list[dict[str, Any]]:
    """Return a row a problem: its distinct prefixes, and the attempts as paths through them.

    A row has "problem" (its id), "prefixes", each {"steps": how many, "text", "finished",
    "right" and "rollouts" (`PolicyValue`), "optimal" (perfect play's value in [0, 1]; None: not
    known), "values" by verifier}, and "attempts": {"prefixes": the indices of its prefixes from
    the bare problem on, "grade"; None where it could not be judged}. An attempt cut short is
    wrong, and its last, broken step is left out.
    """
    attempts_P = _attempts(policy, task, problems, config)
    rows: list[dict[str, Any]] = []
    index_P: list[dict[Tokens, int]] = []
    for problem, attempts in zip(problems, attempts_P, strict=True):
        index: dict[Tokens, int] = {}
        paths = [[index.setdefault(at, len(index)) for at in path] for path, _ in attempts]
        index_P.append(index)
        graded = [
            {"prefixes": path, "grade": grade}
            for path, (_, grade) in zip(paths, attempts, strict=True)
        ]
        rows.append({"problem": problem.id, "prefixes": [], "attempts": graded})
    asked = [(p, at) for p, index in zip(problems, index_P, strict=True) for at in index]
    truths = iter(
        policy_values(policy, task, asked, config.rollouts, params=config.params, seed=config.seed)
    )
    by_verifier = {
        name: _values(policy, verifier, problems, index_P) for name, verifier in verifiers.items()
    }
    for p, (problem, index, row) in enumerate(zip(problems, index_P, rows, strict=True)):
        steps = {at: place for path, _ in attempts_P[p] for place, at in enumerate(path)}
        for place, at in enumerate(index):
            truth, ended = next(truths), is_finished(at, policy.tokenizer)
            text = policy.tokenizer.decode(at)
            row["prefixes"].append(
                {
                    "steps": steps[at],
                    "text": text,
                    "finished": ended,
                    "right": truth.num_right,
                    "rollouts": truth.num_judged,
                    "optimal": _optimal(task, problem, text, truth, is_ended=ended),
                    "values": {name: of_all[p][place] for name, of_all in by_verifier.items()},
                }
            )
    return rows


def _values(
    policy: AnyPolicy,
    verifier: Verifier,
    problems: Sequence[Problem],
    prefixes_P: Sequence[Iterable[Tokens]],
) -> list[list[float]]:
    """Return a verifier's values `[problem][prefix]`, all in one call, checked by the driver."""
    found: list[list[float]] = [[] for _ in problems]

    def ask(tree: Tree, prefixes: Iterable[Tokens], into: list[float]) -> Steps[None]:
        into.extend((yield ScoreRequest(tree.problem, tuple(tree.prompt + p for p in prefixes))))

    trees = [Tree(p, 0, policy.tokenizer.prompt(p.prompt)) for p in problems]
    asks = [ask(*three) for three in zip(trees, prefixes_P, found, strict=True)]
    run(list(zip(trees, asks, strict=True)), policy, verifier)
    return found


def _optimal(
    task: Task, problem: Problem, text: str, truth: PolicyValue, *, is_ended: bool
) -> float | None:
    if task.optimal is None:
        return None
    return truth.value if is_ended else task.optimal(problem, text)


def _attempts(
    policy: AnyPolicy, task: Task, problems: Sequence[Problem], config: MeasureConfig
) -> list[list[tuple[list[Tokens], bool | None]]]:
    """Return each problem's attempts: their prefixes at the ends of steps, and the grade."""
    tokenizer = policy.tokenizer
    requests = [
        SampleRequest(
            (tokenizer.prompt(problem.prompt),),
            config.attempts,
            config.params,
            derive_seed("measure", config.seed, problem.id),
        )
        for problem in problems
    ]
    found: list[list[tuple[list[Tokens], bool | None]]] = []
    for problem, (drawn,) in zip(problems, policy.sample(requests), strict=True):
        reading = Reading(
            tokenizer, problem.prompt, tokenizer.prompt, lambda text: None, task.step_stop
        )
        ways: list[tuple[list[Tokens], bool | None]] = []
        for completion in drawn:
            ended = completion.finish_reason == "eos"
            path: list[Tokens] = [()]
            for step in reading.cut(completion.tokens):
                path.append((*path[-1], *step))
            if not ended and not _is_whole(tokenizer, task, path, config):
                path = path[:-1] or path
            text = tokenizer.decode(completion.tokens)
            ways.append((path, task.grade(problem, text) if ended else False))
        found.append(ways)
    return found


def _is_whole(
    tokenizer: Tokenizer, task: Task, path: Sequence[Tokens], config: MeasureConfig
) -> bool:
    """Whether the last step of an attempt cut short came to its end, and leaves room to go on."""
    if len(path) < 2 or len(path[-1]) < config.max_tokens:
        return False
    return task.step_stop in tokenizer.decode(path[-1][len(path[-2]) :])


# ---- figures of rows


def figures_of(
    rows: Iterable[Mapping[str, Any]], verifier: str, *, rollouts: int, seed: int = 0
) -> dict[str, Any]:
    """Return a verifier's figures, ready for JSON, from the rows of `measured`.

    "policy" compares it with the value under the policy, "optimal" with perfect play's (None
    where the task has no solver); "first_errors" is how well it finds the first step from which
    the problem is lost to perfect play, its threshold chosen on half of the problems and measured
    on the other; "best_of_n" what choosing by it loses to a perfect choice.
    """
    kept = list(rows)
    problems, values, shares, optimal = [list[Any]() for _ in range(4)]
    for row in kept:
        for prefix in row["prefixes"]:
            problems.append(row["problem"])
            values.append(prefix["values"][verifier])
            shares.append(prefix["right"] / prefix["rollouts"] if prefix["rollouts"] else None)
            optimal.append(prefix["optimal"])
    return {
        "verifier": verifier,
        "problems": len(kept),
        "policy": compared(problems, values, shares, rollouts=rollouts, seed=seed),
        "optimal": compared(problems, values, optimal, seed=seed),
        "first_errors": _lost_steps(kept, verifier),
        "best_of_n": _gaps(kept, verifier, seed),
    }


def compared(
    problems_N: Sequence[str],
    values_N: Sequence[float],
    truths_N: Sequence[float | None],
    *,
    rollouts: int | None = None,
    seed: int = 0,
) -> dict[str, Any] | None:
    """Return errors and calibration against true values; those not known (None) are left out.

    `rollouts`: how many are behind each true value (None: it is exact). None: none is known.
    """
    known = [i for i, truth in enumerate(truths_N) if truth is not None]
    if not known:
        return None
    problems = [problems_N[i] for i in known]
    values: Floats = np.asarray([values_N[i] for i in known], dtype=np.float64)
    truths: Floats = np.asarray([truths_N[i] for i in known], dtype=np.float64)

    def spread(measure: Any) -> dict[str, Any]:
        def at(places: Places) -> float | None:
            return measure(values[places], truths[places])

        return asdict(with_interval(at, problems, seed=seed))

    is_noisy = rollouts is not None and rollouts > 1
    return {
        "n": len(known),
        "rollouts": rollouts,
        "mae": spread(calibration.mean_absolute_error),
        "noise_mae": calibration.noise_mae(truths, rollouts) if rollouts else 0.0,
        "rmse": spread(calibration.root_mean_square_error),
        "rmse_less_noise": calibration.root_mean_square_error(
            values, truths, rollouts=rollouts if is_noisy else None
        ),
        "brier": calibration.brier_score(values, truths),
        "correlation": calibration.correlation(values, truths),
        "ece": spread(calibration.expected_calibration_error),
        "ece_debiased": calibration.debiased_calibration_error(values, truths, problems),
        "calibration": [asdict(b) for b in calibration.calibration_curve(values, truths)],
    }


def _lost_steps(rows: Sequence[Mapping[str, Any]], verifier: str) -> dict[str, Any] | None:
    """Return how well first lost steps are found; None where perfect play's values lack."""
    halves: tuple[list[tuple[list[float], int]], list[tuple[list[float], int]]] = ([], [])
    for row in rows:
        half = hashlib.blake2b(row["problem"].encode(), digest_size=1).digest()[0] % 2
        for attempt in row["attempts"]:
            path = [row["prefixes"][at] for at in attempt["prefixes"]][1:]
            truths = [prefix["optimal"] for prefix in path]
            if path and None not in truths:
                lost = next((i for i, truth in enumerate(truths) if truth == 0), NO_ERROR)
                halves[half].append(([prefix["values"][verifier] for prefix in path], lost))
    chosen_on, measured_on = ([*zip(*half, strict=True)] for half in halves)
    if not chosen_on or not measured_on:
        return None
    threshold = choose_threshold(*chosen_on)
    return asdict(first_errors(*measured_on, threshold=threshold)) | {"n": len(measured_on[0])}


def _gaps(rows: Sequence[Mapping[str, Any]], verifier: str, seed: int) -> list[dict[str, Any]]:
    grades: list[list[bool | None]] = []
    values: list[list[float | None]] = []
    for row in rows:
        last = [row["prefixes"][attempt["prefixes"][-1]] for attempt in row["attempts"]]
        grades.append([attempt["grade"] for attempt in row["attempts"]])
        # an attempt cut short is never chosen: it states no answer
        values.append([p["values"][verifier] if p["finished"] else None for p in last])
    return best_of_n_gap(grades, values, seed=seed)


def best_of_n_gap(
    grades_P_K: Sequence[Sequence[bool | None]],
    values_P_K: Sequence[Sequence[float | None]],
    *,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return, for k = 1, 2, 4, ..., what choosing the best valued of k loses to a perfect choice.

    Each is {"k", "pass" (at least one of k is right), "best" (the best valued is), "gap" (pass
    minus best), "low", "high"}: means over problems in [0, 1], expectations over subsets of k;
    the interval is the gap's, over problems. k goes to the fewest attempts of any problem.
    """
    ks = powers_up_to(min(map(len, grades_P_K), default=0))
    table: list[dict[str, Any]] = []
    for k in ks:
        ceilings = [pass_at_k(grades_K, [k])[0] for grades_K in grades_P_K]
        chosen = [
            best_of_k(values_K, grades_K, [k])[0]
            for values_K, grades_K in zip(values_P_K, grades_P_K, strict=True)
        ]
        pairs = [
            (a, b) for a, b in zip(ceilings, chosen, strict=True) if a is not None and b is not None
        ]
        gap = mean_with_interval([a - b for a, b in pairs], seed=seed)
        ceiling, best = (mean_with_interval([pair[i] for pair in pairs]).value for i in (0, 1))
        table.append(
            {"k": k, "pass": ceiling, "best": best}
            | {"gap": gap.value, "low": gap.low, "high": gap.high}
        )
    return table


def log_log_slope(
    sizes: Sequence[float],
    errors_S_U: Sequence[Sequence[float]],
    *,
    is_paired: bool = False,
    seed: int = 0,
    resamples: int = calibration.RESAMPLES,
) -> Figure:
    """Return the slope of log(mean error) over log(size), by least squares, with its interval.

    `errors_S_U[s]` holds the errors (above 0 in the mean) at size s, one a unit: a training
    seed, or with `is_paired` a problem, the same ones in the same order at every size. The
    bootstrap resamples units, together where they are paired, else size by size; its ends are
    None where each size has but one.
    Raises: `UserError` on fewer than two sizes, sizes that are not above 0, or means that are not.
    """
    if len(sizes) != len(errors_S_U) or len(set(sizes)) < 2:
        raise UserError(f"a slope needs two sizes, with errors for each; there are {list(sizes)}")
    if not all(0 < size < math.inf for size in sizes):
        raise UserError(f"sizes are {list(sizes)}; they must be above 0")
    columns: list[Floats] = [np.asarray(errors, dtype=np.float64) for errors in errors_S_U]
    counts = {len(column) for column in columns}
    if (is_paired and len(counts) > 1) or 0 in counts:
        raise UserError(f"sizes have errors of {sorted(counts)} units; paired ones need as many")
    logs = np.log(np.asarray(sizes, dtype=np.float64))
    x = logs - logs.mean()

    def slope(means: Sequence[float]) -> float | None:
        if not all(0 < mean < math.inf for mean in means):
            return None
        return float((x * np.log(np.asarray(means))).sum() / (x * x).sum())

    value = slope([float(column.mean()) for column in columns])
    if value is None:
        raise UserError("the mean error at some size is not above 0; it has no logarithm")
    if counts == {1}:
        return Figure(value, None, None)
    rng = np.random.default_rng(derive_seed("bootstrap", seed))
    found: list[float] = []
    for _ in range(resamples):
        shared = rng.integers(len(columns[0]), size=len(columns[0]))
        means = [
            float(c[shared if is_paired else rng.integers(len(c), size=len(c))].mean())
            for c in columns
        ]
        if (drawn := slope(means)) is not None:
            found.append(drawn)
    if not found:
        return Figure(value, None, None)
    low, high = np.quantile(found, (0.025, 0.975))
    return Figure(value, float(low), float(high))
