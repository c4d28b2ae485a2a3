"""Where the command line starts: the table of commands, and how errors end.

A new command is a function (or a cyclopts `App`, for a group of them) in a file of this folder and
one line in `build_app`. Those files import at their head only what is light, and what is heavy
inside the functions, so that `system2 --help` answers at once.
"""

import errno
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from system2 import __version__
from system2.core import UserError

if TYPE_CHECKING:
    from cyclopts import App

USER_ERROR = 2
"""The exit code of everything the user can mend."""


def build_app() -> "App":
    """Return the command line as a cyclopts `App`."""
    from cyclopts import App

    from system2.cli.demo import demo
    from system2.cli.grade import grade
    from system2.cli.judges import train  # the group, with what other files add to it
    from system2.cli.label import label
    from system2.cli.learn import explore
    from system2.cli.measure import measure
    from system2.cli.models import models
    from system2.cli.problems import problems
    from system2.cli.recipe import recipe
    from system2.cli.serve import serve
    from system2.cli.show import show
    from system2.cli.solve import evaluate, solve
    from system2.cli.sweep import sweep

    commands = {
        "demo": demo,
        "problems": problems,
        "explore": explore,
        "label": label,
        "train": train,
        "solve": solve,
        "evaluate": evaluate,
        "show": show,
        "sweep": sweep,
        "measure": measure,
        "grade": grade,
        "recipe": recipe,
        "serve": serve,
        "models": models,
    }
    app = App(
        name="system2",
        help="Give a language model System 2: token verifiers (LLM2), search, and their training.",
        version=__version__,
        help_format="markdown",
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for name, command in commands.items():
        app.command(command, name=name)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command (None: the process's arguments) and return the exit code: 0, or 2.

    What the user can mend ends in one line on stderr and code 2: a `UserError`, a wrong option, a
    file that is missing or not allowed, a full disk, Ctrl-C. Anything else is a fault of ours and
    keeps its traceback.
    """
    try:
        code, message = _run(arguments), ""
    except KeyboardInterrupt:
        code, message = USER_ERROR, "stopped; run the same command again to go on"
    except UserError as error:
        code, message = USER_ERROR, f"error: {error}"
    except OSError as error:
        if (described := describe_os_error(error)) is None:
            raise
        code, message = USER_ERROR, f"error: {described}"
    if message:
        print("system2:", " ".join(message.split()), file=sys.stderr)
    _close_stdout()
    return code


def _run(arguments: Sequence[str] | None) -> int:
    from cyclopts import CycloptsError

    try:
        build_app()(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise UserError(f"{error} (system2 --help lists what there is)") from None
    return 0


def describe_os_error(error: OSError) -> str | None:
    """Return one line on a fault of the user's files, None where the error is not of that kind."""
    name = f": {error.filename}" if error.filename is not None else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"no room left to write on{name}"
    if error.filename is not None and error.strerror:
        return f"{error.strerror.lower()}{name}"
    return None


def _close_stdout() -> None:
    """Flush what was printed; where nobody takes it, keep Python from saying so as it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
