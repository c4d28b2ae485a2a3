"""The option `--workers` of commands that sample much: a policy decoded by several processes."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

from cyclopts import Parameter
from cyclopts.validators import Number

from system2.core import UserError

if TYPE_CHECKING:
    from system2.engine.processes import ProcessPolicy

_Policy = TypeVar("_Policy")

HELP = (
    "Processes that decode, each with a thread and a batch of its own, at most as many as there "
    "are cores. For a policy on a CPU and many problems: a worker takes seconds to start."
)

Workers: TypeAlias = Annotated[int, Parameter(validator=Number(gte=1), help=HELP)]
"""The option; 1 decodes in the command's own process."""


def num_cores() -> int:
    """Return how many cores this process may use."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int, policy: str) -> None:
    """Refuse, before anything is loaded, what several processes are no use for.

    Raises: `UserError` where the policy is on a server, or there are fewer cores than workers.
    """
    from system2.engine.remote import is_remote

    if workers > 1 and is_remote(policy):
        raise UserError("--workers is for policies that run here; a server takes --batch requests")
    if workers > 1 and workers > num_cores():
        raise UserError(f"--workers is {workers}; use at most {num_cores()}, the number of cores")


@contextmanager
def decoded_by(policy: _Policy, workers: int) -> "Generator[_Policy | ProcessPolicy]":
    """Give a policy as it is, or where there are several workers, theirs.

    Raises: `UserError` where it is not on a CPU.
    """
    if workers == 1:
        yield policy
        return
    from system2.engine.local import LocalPolicy
    from system2.engine.processes import ProcessPolicy

    assert isinstance(policy, LocalPolicy), "check_workers refuses others"
    with ProcessPolicy(policy, workers) as processes:
        yield processes
