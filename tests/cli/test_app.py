"""The command line answers at once, and every fault of the user ends in one line and code 2."""

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from system2.cli.app import build_app, describe_os_error, main

SYSTEM2 = (sys.executable, "-m", "system2")


def run(*words: object, stdout: int | None = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    command = [*SYSTEM2, *map(str, words)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120)


def assert_refused(done: subprocess.CompletedProcess[str], *names: object) -> None:
    """Assert code 2 and one line on stderr that holds the names."""
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("system2: ")
    for name in names:
        assert str(name) in line


def test_help_answers_at_once_and_names_every_command() -> None:
    def seconds_used() -> float:
        """The processor's seconds: the clock's would measure what else this machine does."""
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run("--help").returncode == 0
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime

    assert min(seconds_used() for _ in range(3)) < 0.5  # a busy machine slows a processor, too
    done = run("--help")
    for name in build_app():
        assert name in done.stdout


def test_help_loads_nothing_heavy() -> None:
    script = """
import sys
from system2.cli.app import main
main(["--help"])
heavy = {"torch", "transformers", "sympy", "math_verify", "numpy", "reasoning_gym", "pyarrow"}
print(sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == "[]\n"


def commands(app: object = None, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    app = app or build_app()
    names = [name for name in app if not name.startswith("-")]
    return [found for name in names for found in commands(app[name], (*words, name))] or [words]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_says_what_it_does_and_speaks_json(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.split("\n\n")[1].strip().endswith(".")
    assert "--json" in said
    for line in said.splitlines():
        if re.match(r"│ (\*  |   )?--", line):  # further in, a text goes on
            assert "  " in line.strip(" │*"), line


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["nothing"], '"nothing"'),
        (["problems"], "TASK"),
        (["problems", "countdown"], "--out"),
        (["problems", "countdown", "--out", "x", "--n", "0"], "--n"),
        (["problems", "countdown", "--out", "x", "--split", "dev"], "validation"),
        (["problems", "countdown", "--out", "x", "--sead", "1"], "--sead"),
        (["problems", "no_task", "--out", "x"], "no_task"),
        (["grade", "absent.jsonl", "--out", "x"], "absent.jsonl"),
        (["grade", ".", "--out", "x"], "directory"),
    ],
)
def test_a_wrong_word_is_named_in_one_line(
    words: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert line.startswith("system2: error: ")
    assert named in line
    assert out == ""
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    script = """
import resource, sys
from system2.cli.app import main
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(main(sys.argv[1:]))
"""
    out = tmp_path / "out.jsonl"
    words = ["problems", "countdown", "--n", "10000", "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert_refused(done, "no room left", out)
    assert not any(tmp_path.iterdir())
    assert_refused(run("problems", "countdown", "--out", "/dev/full"), "no room left", "/dev/full")


def test_a_full_disk_behind_stdout_ends_in_one_line() -> None:
    with open("/dev/full", "w") as full:
        assert_refused(run("models", stdout=full.fileno()), "no room left")


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    error = PermissionError(13, "Permission denied", str(tmp_path))
    assert describe_os_error(error) == f"permission denied: {tmp_path}"
    under_a_file = tmp_path / "file"
    under_a_file.write_text("")
    done = run("problems", "countdown", "--n", 1, "--out", under_a_file / "out.jsonl")
    assert_refused(done, under_a_file)


def test_an_error_that_is_not_the_users_keeps_its_traceback() -> None:
    assert describe_os_error(ConnectionResetError(104, "Connection reset by peer")) is None


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run("models", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    command = [*SYSTEM2, "problems", "countdown", "--n", "100000000", "--out", str(out)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        deadline = time.monotonic() + 60
        while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.01)
        job.send_signal(signal.SIGINT)
        said, complained = job.communicate(timeout=60)
    assert job.returncode == 2
    assert said == ""
    assert complained == "system2: stopped; run the same command again to go on\n"
    assert not any(tmp_path.iterdir())


def test_a_terminal_sees_progress_and_stdout_only_the_result(tmp_path: Path) -> None:
    screen, terminal = pty.openpty()
    words = ["problems", "countdown", "--n", "3000", "--out", str(tmp_path / "out.jsonl")]
    done = subprocess.run([*SYSTEM2, *words], stdout=subprocess.PIPE, stderr=terminal, timeout=120)
    os.close(terminal)
    shown = os.read(screen, 1 << 20)
    os.close(screen)
    assert done.stdout.decode() == f"wrote 3000 problems to {tmp_path / 'out.jsonl'}\n"
    assert b"countdown" in shown
    assert b"/3000" in shown


def test_models_lists_every_task(capsys: pytest.CaptureFixture[str]) -> None:
    from system2.tasks import TASKS

    assert main(["models"]) == 0
    table = capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert listed["tasks"] == sorted(TASKS)
    for name in [*listed["policies"], *listed["verifiers"], *listed["tasks"], "hub:NAME"]:
        assert name in table
