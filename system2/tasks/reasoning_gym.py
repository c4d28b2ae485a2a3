"""Any dataset of reasoning-gym (arXiv 2505.24760) as a task named "reasoning_gym/NAME".

Items are drawn by seeds of ours (`Random(seed + index)`, theirs, makes neighbouring seeds share
nearly all items) and split by the hash of their question. Only a score of exactly 1 counts;
countdown and puzzle24, whose own scorers let numbers be reused, go through our check. All of
reasoning-gym runs in a process of its own, see `system2.tasks.reasoning_gym_worker`.
"""

import atexit
import json
import os
import random
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from system2.core import Problem, Split, Task, UserError
from system2.tasks import countdown
from system2.tasks.data_files import problem_id
from system2.tasks.splits import draw_split
from system2.tasks.statements import final_statement
from system2.tasks.worker import Worker, WorkerGoneError

PREFIX = "reasoning_gym/"
PATIENCE_S = 600.0
"""How long a reply may take by the clock; the worker's own limits are of processor time."""
_MODULE = "system2.tasks.reasoning_gym_worker"


def reasoning_gym_task(dataset_name: str, **config: Any) -> Task:
    """Offer a dataset of reasoning-gym, with its own configuration, as a task.

    `config` holds what JSON can hold. A problem's answer is "" where the dataset gives none.
    Grades are None where the dataset's scorer fails or takes longer than its time limit.
    Raises: `UserError` on a dataset or configuration that reasoning-gym refuses, and where
    reasoning-gym is not installed.
    """
    if find_spec("reasoning_gym") is None:
        raise UserError(f"{PREFIX}{dataset_name} needs reasoning-gym: pip install 'system2[tasks]'")
    name = f"{PREFIX}{dataset_name}"
    written = json.dumps(config, sort_keys=True)

    def make(rng: random.Random) -> Problem:
        return _made(dataset_name, written, rng.getrandbits(31))

    def problems(split: Split, seed: int) -> Iterator[Problem]:
        return draw_split(name, split, seed, make, lambda problem: problem.prompt)

    make(random.Random(0))
    return Task(name=name, problems=problems, grade=grade, answer_of=answer_of)


def _made(dataset_name: str, config: str, seed: int) -> Problem:
    reply = _gym.ask(name=dataset_name, config=config, seed=seed)
    item = reply.get("result")
    if item is None:
        raise UserError(f"{PREFIX}{dataset_name}: {reply['error']}")
    return Problem(
        id=problem_id(f"{PREFIX}{dataset_name}", item["question"]),
        prompt=item["question"],
        answer="" if item["answer"] is None else str(item["answer"]),
        task=f"{PREFIX}{dataset_name}",
        metadata={
            "dataset": dataset_name,
            "config": config,
            "item_seed": seed,
            "item": item["metadata"],
        },
    )


def grade(problem: Problem, text: str) -> bool | None:
    """Return whether a text's final statement, or all of it, scores exactly 1; None: no score."""
    dataset, item = problem.metadata["dataset"], problem.metadata["item"]
    if dataset in ("countdown", "puzzle24"):
        target = item["target"] if dataset == "countdown" else 24
        return countdown.check(item["numbers"], target, text, all_numbers=True)
    reply = _gym.ask(
        name=dataset,
        config=problem.metadata["config"],
        seed=problem.metadata["item_seed"],
        answer=_stated(text),
    )
    return None if "error" in reply else reply["result"] == 1.0


def answer_of(problem: Problem, text: str) -> str | None:
    """Return what `grade` would score, with single spaces; None where the text is empty."""
    del problem
    return " ".join(_stated(text).split()) or None


def _stated(text: str) -> str:
    stated = final_statement(text)
    return text.strip() if stated is None else stated


class _Gym:
    """The worker process, started at the first request and again after it died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: Worker | None = None

    def ask(self, **request: Any) -> dict[str, Any]:
        """Return {"result": ..} or {"error": ..}; a request that ends the worker is an error."""
        with self._lock:
            if self._worker is None or not self._worker.is_alive():
                self._worker = Worker(_MODULE, {"PYTHONHASHSEED": "0"})
            try:
                return self._worker.ask(request, PATIENCE_S)
            except BaseException as error:  # a late reply would answer the next request
                self.stop()
                if isinstance(error, WorkerGoneError):
                    return {"error": "the worker ran over its limit of time or memory"}
                raise

    def stop(self) -> None:
        """End the process, if there is one."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()

    def forget(self) -> None:
        """Let go of a parent's process in a forked child, without touching it."""
        if self._worker is not None:
            self._worker.forget()


_gym = _Gym()


def _after_fork() -> None:
    global _gym
    _gym.forget()
    _gym = _Gym()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _gym.stop())
