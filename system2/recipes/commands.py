"""Recipes that are lists of commands: each is run as a user would, unless it was done before.

Every command writes its output whole or not at all, and goes on where it was killed, so a file
that is there is finished, and a recipe that was killed goes on with the command it was at.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from system2.core import UserError


def made(path: Path, *words: object) -> Path:
    """Run `system2 WORDS...` unless `path`, which it writes, is there; return `path`.

    Raises: `UserError` with the command and its last words where it fails.
    """
    if path.exists():
        return path
    command = [sys.executable, "-m", "system2", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word said"])[-1]
        raise UserError(f"`system2 {' '.join(command[3:])}` failed: {last}")
    return path


def read_results(folder: Path) -> dict[str, Any]:
    """Return the results.json of a folder that a command wrote."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found
