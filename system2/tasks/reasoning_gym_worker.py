"""The process in which reasoning-gym runs: it makes items and scores answers, a JSON line each.

reasoning-gym takes seconds to import, prints, draws from global random states and, in some of its
scorers, evaluates the answer's text. Here a request that takes too long or too much memory ends
the process and nothing else, and answers that could run code are refused before they are scored.
The fixed hash seed (set by the parent) makes items that depend on the order of sets the same in
every run. Ended by the end of its input.
"""

import json
import os
import random
import re
import resource
import signal
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

MAKE_LIMIT_S = 60.0
SCORE_LIMIT_S = 5.0
MEMORY_BYTES = 4 << 30
SIZE = 10
"""Items of each dataset that is created: one item is taken from it, at a place its seed says."""

_CALL_FREE = re.compile(r"[^()]*")
_FORMULA = re.compile(r"(?:[a-zA-Z]+|\d+(?:\.\d+)?|[\s+\-*/^()])*")
_FUNCTIONS = re.compile(
    r"(?:a?(?:sin|cos|tan)h?|sec|csc|cot|exp|ln|log|sqrt|abs|pi)", re.IGNORECASE
)


def _is_formula(answer: str) -> bool:
    """Return whether a text holds only numbers, single letters, operators and known functions."""
    words = re.findall(r"[a-zA-Z]+", answer)
    known = all(len(word) == 1 or _FUNCTIONS.fullmatch(word) for word in words)
    return known and _FORMULA.fullmatch(answer) is not None


def _is_call_free(answer: str) -> bool:
    return _CALL_FREE.fullmatch(answer) is not None


HARMLESS: dict[str, Callable[[str], bool]] = {
    "binary_matrix": _is_call_free,
    "n_queens": _is_call_free,
    "spiral_matrix": _is_call_free,
    "string_insertion": _is_call_free,
    "intermediate_integration": _is_formula,
    "polynomial_multiplication": _is_formula,
    "simple_integration": _is_formula,
}
"""Scorers that evaluate the answer's text, and which texts they may be given."""


@lru_cache(maxsize=512)
def _item(name: str, config: str, seed: int) -> tuple[Any, dict[str, Any]]:
    """Return a dataset and the one of its items that the seed names."""
    import reasoning_gym  # pyright: ignore[reportMissingTypeStubs]

    random.seed(seed)
    dataset: Any = reasoning_gym.create_dataset(name, seed=seed, size=SIZE, **json.loads(config))
    return dataset, dataset[seed % SIZE]


def _reply(request: dict[str, Any]) -> Any:
    """Return an item, or the score of an answer to it where the request holds one."""
    name = request["name"]
    _limit(MAKE_LIMIT_S)
    dataset, item = _item(name, request["config"], request["seed"])
    if "answer" not in request:
        return item
    if name in HARMLESS and not HARMLESS[name](request["answer"]):
        return 0.0
    _limit(SCORE_LIMIT_S)
    return float(dataset.score_answer(request["answer"], item))


def _limit(seconds: float) -> None:
    """Have the process end after so much more work (not waiting); 0: no limit any more."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def main() -> None:
    """Answer requests until the input ends."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    for line in sys.stdin:
        try:
            reply = {"result": _reply(json.loads(line))}
        except Exception as error:  # any failure of any dataset is an answer to the parent
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(f"{json.dumps(reply, default=str)}\n")
        replies.flush()
        _limit(0)


if __name__ == "__main__":
    main()
