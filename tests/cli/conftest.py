"""What tests of several commands ask."""

from pathlib import Path

import pytest

from system2.core import Problem
from system2.store import problem_row, write_jsonl


@pytest.fixture(scope="module")
def asked(sums: list[Problem], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of all the sums."""
    path = tmp_path_factory.mktemp("asked") / "asked.jsonl"
    _ = write_jsonl(path, map(problem_row, sums))
    return path
