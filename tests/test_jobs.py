"""Jobs: in order whatever the processes, each once, also after a kill."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from system2.jobs import do_all
from tests.toys import is_alive


def squared(number: int) -> dict[str, Any]:
    return {"number": number, "square": number * number, "process": os.getpid()}


def lasting(folder: str) -> dict[str, Any]:
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)
    return {}


def failing(number: int) -> dict[str, Any]:
    if number == 3:
        raise ValueError("three")
    return squared(number)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_jobs(tmp_path: Path, processes: int) -> None:
    told: list[tuple[int, int]] = []
    rows = do_all(
        tmp_path / "rows.jsonl",
        {},
        squared,
        range(6),
        processes=processes,
        on_job=lambda done, of: told.append((done, of)),
    )
    assert [row["square"] for row in rows] == [0, 1, 4, 9, 16, 25]
    assert told == [(done, 6) for done in range(1, 7)]
    assert (os.getpid() in {row["process"] for row in rows}) == (processes == 1)


def test_what_is_done_is_read_and_only_for_the_same_config(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = do_all(path, {"a": 1}, squared, [1, 2])
    assert do_all(path, {"a": 1}, failing, [3, 3]) == first, "done again"
    assert [row["number"] for row in do_all(path, {"a": 1}, squared, [1, 2, 3])] == [1, 2, 3]
    assert [row["number"] for row in do_all(path, {"a": 2}, squared, [4, 5, 6])] == [4, 5, 6]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failure_keeps_what_was_done_before_it(tmp_path: Path, processes: int) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(ValueError, match="three"):
        do_all(path, {}, failing, range(5), processes=processes)
    assert not path.exists()
    left: list[int] = []
    rows = do_all(path, {}, lambda n: left.append(n) or squared(n), range(5))
    assert left == [3, 4]
    assert [row["number"] for row in rows] == list(range(5))


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    script = f"""
        import os, signal, sys
        from pathlib import Path
        from system2.jobs import do_all
        def do(number):
            if number == 2 and sys.argv[1] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            return {{"number": number, "start": sys.argv[1]}}
        for row in do_all(Path({str(tmp_path / "rows.jsonl")!r}), {{}}, do, range(4)):
            print(row["number"], row["start"])
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    killed = subprocess.run([*command, "killed"], check=False)
    assert killed.returncode == -signal.SIGKILL
    done = subprocess.run([*command, "again"], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["0 killed", "1 killed", "2 again", "3 again"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_the_one_that_started_them(tmp_path: Path, how: signal.Signals) -> None:
    script = f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
        from pathlib import Path
        from system2.jobs import do_all
        from tests.test_jobs import lasting
        if __name__ == "__main__":
            folder = {str(tmp_path)!r}
            do_all(Path(folder, "rows.jsonl"), {{}}, lasting, [folder, folder], processes=2)
    """
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))

    def started() -> list[int]:
        return [int(entry.name) for entry in tmp_path.iterdir() if entry.name.isdigit()]

    with subprocess.Popen([sys.executable, str(path)]) as run:
        until = time.monotonic() + 60
        while len(started()) < 2:
            assert time.monotonic() < until, "the processes did not start"
            time.sleep(0.05)
        run.send_signal(how)
    until = time.monotonic() + 20
    while any(map(is_alive, started())):
        assert time.monotonic() < until, "a process outlived the one that started it"
        time.sleep(0.05)
