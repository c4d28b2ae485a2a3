"""The process that does algebra on answers, so that it can be killed: `answers_pool` starts it.

Run as `python -m system2.tasks.answers_worker`. It says in one line that it is ready, then reads
one JSON request a line and writes one JSON reply a line. It limits its own memory, and sets two
timers that kill it before each request: one counts its processor time, which is fair on a crowded
machine, and one the clock, so that it cannot outlive its parent for long.
"""

import json
import os
import resource
import signal
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any, TextIO

from system2.tasks.answers_compare import compare
from system2.tasks.answers_values import read_answer

MAX_MEMORY_BYTES = 2 * 1024**3
# What loads lazily inside the libraries must not be paid for by the first request.
_WARM_UP = ((r"2\sqrt{3}+\sin x", r"\sin x+\sqrt{12}"), ("2x+y=1", "4x+2y=2"), ("3.142", r"\pi"))


def greet() -> dict[str, str]:
    """Load what is needed; return {"ready": version}, or why not: "missing" or "refused"."""
    try:
        import_module("system2.tasks.answers_algebra")
    except ImportError as error:
        return {"missing": str(error)}
    antlr = version("antlr4-python3-runtime")
    if not antlr.startswith("4.13."):
        return {"refused": f"antlr4-python3-runtime is {antlr}"}
    for prediction, gold in _WARM_UP:
        judge({"prediction": prediction, "gold": gold, "rounding_digits": 4})
    return {"ready": antlr}


def judge(request: dict[str, Any]) -> bool | None:
    """Return the grade of a request: `prediction` and `gold` (answers), `rounding_digits`."""
    from system2.tasks.answers_algebra import algebra

    digits = int(request["rounding_digits"])
    prediction, gold = read_answer(request["prediction"]), read_answer(request["gold"])
    return compare(prediction, gold, algebra(digits), digits)


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer requests until they end or memory does."""

    def reply(message: object) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    greeting = greet()
    reply(greeting)
    if "ready" not in greeting:
        return
    for line in requests:
        request = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, request["timeout_s"])
        signal.setitimer(signal.ITIMER_REAL, request["patience_s"])
        try:
            grade = judge(request)
        except MemoryError:
            return  # a fresh process is safer than one that ran out of memory
        except Exception:  # whatever algebra raises, the answer could not be judged
            grade = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        reply(grade)


def main() -> None:
    """Serve the process that started this one."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for alarm in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(alarm, signal.SIG_DFL)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints must not be able to forge a reply
    serve(sys.stdin, replies)


if __name__ == "__main__":
    main()
