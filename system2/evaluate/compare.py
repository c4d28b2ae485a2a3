"""Compare ways to decode on the same problems: LLM2's layouts beside their baselines.

Place in the flow: methods and problems -> attempts (`solve`, in parallel processes) -> rows
with intervals and paired differences (`metrics`, `curves`) -> `report`. Every method draws its
attempts with the same seeds; a figure stands beside the tokens that it cost.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from system2.core import Problem, UserError
from system2.engine.local import LocalPolicy, load_policy
from system2.engine.weights import find_checkpoint
from system2.evaluate.curves import best_of_k, majority_at_k
from system2.evaluate.metrics import mean_with_interval, paired_difference, problem_means
from system2.evaluate.solve import SolveConfig, equip, solve
from system2.jobs import do_all
from system2.store import hash_files
from system2.tasks import find_task
from system2.verify.folders import find_verifier
from system2.verify.token import ContrastiveGuide

MAJORITIES = ("majority@4", "majority@20")
DECODINGS = ("greedy", "sample", *MAJORITIES)

BEST_OF_N = "outcome_best_of_n"
"""Plain attempts, the one with the highest outcome value taken: what a verifier of whole
solutions gains from the same draws."""

GREEDY_CHUNK, SAMPLED_CHUNK = 250, 100
"""Problems a job: many enough for large batches, few enough to keep two processes busy."""

SMALL_MODEL = 50_000_000
"""Parameters below which the keys of a thousand rows are nothing to save."""


@dataclass(frozen=True, slots=True)
class Method:
    """One way to decode: a policy, and what guides it.

    `verifier` names a token verifier (its own alpha and beta unless given here; `gate` as in
    `VerifierGuide`) or an outcome verifier, which scores the attempts; `alpha` alone is the
    plausible set alone; `amateur` names the weaker policy of contrastive decoding.
    """

    name: str
    policy: str = "tiny"
    verifier: str | None = None
    alpha: float | None = None
    beta: float | None = None
    amateur: str | None = None
    gamma: float = 0.5
    gate: float = 1.0

    def load(self) -> tuple[LocalPolicy, Any]:
        """Return the guided policy, and the verifier of whole attempts (None: none).

        It decodes 128 draws at a time, a small model 1,024.
        """
        policy = load_policy(self.policy, max_rows=128)
        if sum(p.numel() for p in policy.model.parameters()) < SMALL_MODEL:
            policy = replace(policy, max_rows=1024)
        if self.amateur is None:
            return equip(policy, self.verifier, alpha=self.alpha, beta=self.beta, gate=self.gate)
        weaker = load_policy(self.amateur).model
        if weaker.config.vocab_size != policy.model.config.vocab_size:
            raise UserError(
                f"{self.amateur} cannot be the amateur of {self.policy}: their vocabularies differ"
            )
        alpha = 0.1 if self.alpha is None else self.alpha
        return replace(policy, guide=ContrastiveGuide(weaker, alpha, self.gamma)), None

    def files(self) -> list[Path]:
        """Return the files of all weights that it decodes with."""
        folders = [find_checkpoint(name) for name in (self.policy, self.amateur) if name]
        if self.verifier is not None:
            folders.append(find_verifier(self.verifier))
        return [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]


@dataclass(frozen=True, slots=True)
class Job:
    """Some problems to be attempted by one method: greedily, or `samples` times at T=1."""

    method: Method
    problems: tuple[Problem, ...]
    samples: int
    max_tokens: int
    seed: int

    @property
    def is_greedy(self) -> bool:
        """Whether it is one greedy attempt a problem."""
        return self.samples == 0


@lru_cache(maxsize=2)
def _loaded(method: Method) -> tuple[LocalPolicy, Any]:
    import torch

    torch.set_num_threads(1)
    return method.load()


def attempt(job: Job) -> list[dict[str, Any]]:
    """Do a job; return a row a problem: its attempts' grades, answers and values, its tokens."""
    policy, verifier = _loaded(job.method)
    sampling = "sample" if verifier is None else "best_of_n"
    search = "greedy" if job.is_greedy else sampling
    config = SolveConfig(search, max(1, job.samples), max_tokens=job.max_tokens, seed=job.seed)
    task = find_task(job.problems[0].task)
    rows = solve(policy, task, job.problems, config, verifier=verifier, chunk=len(job.problems))
    return [_attempts(job, row) for row in rows]


def _attempts(job: Job, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a comparison needs of a tree; an attempt cut short is a wrong one."""
    nodes = row["nodes"][1:]
    return {
        "method": job.method.name,
        "decoding": "greedy" if job.is_greedy else "sample",
        "problem": row["problem"]["id"],
        "grades": [node.get("grade", False) for node in nodes],
        "answers": [node.get("answer") for node in nodes],
        "values": [node["value"] for node in nodes],
        "sampled_tokens": row["sampled_tokens"],
        "positions_computed": row["positions_computed"],
    }


def jobs_of(
    methods: Iterable[Method],
    problems: Sequence[Problem],
    *,
    samples: int,
    max_tokens: int,
    seed: int,
) -> list[Job]:
    """Return the jobs of a comparison, method by method, in chunks of problems."""
    return [
        Job(method, tuple(problems[start : start + chunk]), count, max_tokens, seed)
        for method in methods
        for count, chunk in ((0, GREEDY_CHUNK), (samples, SAMPLED_CHUNK))
        for start in range(0, len(problems), chunk)
    ]


def attempt_all(
    path: Path,
    methods: Sequence[Method],
    problems: Sequence[Problem],
    *,
    samples: int,
    max_tokens: int,
    seed: int = 0,
    processes: int = 1,
    on_job: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Return every method's attempts at the problems, kept in a file as they are made.

    Started again, it goes on where it was. `on_job` is told how many jobs are done, of how
    many.
    """
    jobs = jobs_of(methods, problems, samples=samples, max_tokens=max_tokens, seed=seed)
    config = {
        "methods": [asdict(method) for method in methods],
        "problems": [problem.id for problem in problems],
        "samples": samples,
        "max_tokens": max_tokens,
        "seed": seed,
        "weights": hash_files(path for method in methods for path in method.files()),
    }
    done = do_all(path, config, _attempted, jobs, processes=processes, on_job=on_job)
    return [row for job in done for row in job["rows"]]


def _attempted(job: Job) -> dict[str, Any]:
    return {"rows": attempt(job)}


def values_by_method(
    rows: Iterable[Mapping[str, Any]], *, seed: int
) -> dict[tuple[str, str], list[float | None]]:
    """Return, for each (method, decoding), a value in [0, 1] a problem: its expected accuracy.

    `sample` is the mean over the attempts, majority@k the expectation over all k of them.
    Attempts with values (an outcome verifier's) also make `outcome_best_of_n`, whose
    majority@k is the expected grade of the best valued of k: the same draws, chosen otherwise.
    """
    values: dict[tuple[str, str], list[float | None]] = {}
    for row in rows:
        name, grades = str(row["method"]), row["grades"]
        if row["decoding"] == "greedy":
            values.setdefault((name, "greedy"), []).append(_number(grades[0]))
            continue
        ks = [k for k in (4, 20) if k <= len(grades)]
        values.setdefault((name, "sample"), []).extend(problem_means([grades]))
        curves = {name: majority_at_k(row["answers"], grades, ks, seed=seed)}
        if any(value is not None for value in row["values"]):
            curves[BEST_OF_N] = best_of_k(row["values"], grades, ks)
        for method, curve in curves.items():
            for k, value in zip(ks, curve, strict=True):
                values.setdefault((method, f"majority@{k}"), []).append(value)
    return values


def _number(grade: bool | None) -> float | None:
    return None if grade is None else float(grade)


def tokens_by_method(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], int]:
    """Return the sampled tokens behind each (method, decoding), over all problems."""
    tokens: dict[tuple[str, str], float] = {}
    for row in rows:
        name, spent = str(row["method"]), row["sampled_tokens"]
        has_values = any(value is not None for value in row["values"])
        if row["decoding"] == "greedy":
            shares = {"greedy": spent}
        else:
            count = len(row["grades"])
            shares = {d: spent * k / count for d, k in _ATTEMPTS.items() if k <= count}
        for decoding, share in shares.items():
            for method in (name, BEST_OF_N) if decoding in MAJORITIES and has_values else (name,):
                tokens[method, decoding] = tokens.get((method, decoding), 0.0) + share
    return {key: round(total) for key, total in tokens.items()}


_ATTEMPTS = {"sample": 1, "majority@4": 4, "majority@20": 20}


def result_rows(
    rows: Sequence[Mapping[str, Any]], costs: Mapping[str, float], *, seed: int
) -> list[dict[str, Any]]:
    """Return the table's rows: accuracy with its 95% interval, tokens, cost of a step."""
    tokens = tokens_by_method(rows)
    table: list[dict[str, Any]] = []
    for (method, decoding), found in values_by_method(rows, seed=seed).items():
        estimate = mean_with_interval(found, seed=seed)
        table.append(
            {
                "method": method,
                "decoding": decoding,
                "n": len(found),
                "accuracy": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
                "sampled_tokens": tokens[method, decoding],
                "cost_ratio": costs.get(method),
            }
        )
    return table


def paired_rows(
    rows: Sequence[Mapping[str, Any]], against: Sequence[str], *, seed: int
) -> list[dict[str, Any]]:
    """Return paired differences of every method to each of `against`, over the same problems."""
    values = values_by_method(rows, seed=seed)
    table: list[dict[str, Any]] = []
    for (method, decoding), mine in values.items():
        for other in against:
            theirs = values.get((other, decoding))
            if other == method or theirs is None:
                continue
            difference = paired_difference(mine, theirs, seed=seed)
            table.append(
                {
                    "a": method,
                    "b": other,
                    "decoding": decoding,
                    "difference": difference.value,
                    "low": difference.low,
                    "high": difference.high,
                }
            )
    return table
