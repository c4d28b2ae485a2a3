"""Files are whole or absent, broken ones are named by line, journals survive any kill."""

import errno
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from system2 import store
from system2.core import Problem, UserError
from system2.tree import ROOT, Tree

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
rows_of_json = st.lists(st.dictionaries(st.text(), json_values, max_size=4), max_size=6)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


# Rows


@same_folder
@given(rows_of_json)
def test_rows_come_back_as_written(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert store.write_jsonl(tmp_path / "rows.jsonl", rows) == len(rows)
    assert list(store.read_jsonl(tmp_path / "rows.jsonl")) == rows


@same_folder
@given(rows_of_json, st.data())
def test_a_broken_line_is_named(tmp_path: Path, rows: list[Any], data: st.DataObject) -> None:
    path = tmp_path / "rows.jsonl"
    store.write_jsonl(path, rows)
    lines = path.read_bytes().splitlines(keepends=True) if rows else []
    at = data.draw(st.integers(0, len(rows)))
    broken = [b'{"a": 1,}', b"[1]", b"3", b'{"a": NaN}', b'{"a": "\xff"}', b"{" * 9999, b'{"a": 1']
    lines.insert(at, data.draw(st.sampled_from(broken)) + b"\n")
    path.write_bytes(b"".join(lines))
    read = store.read_jsonl(path)
    with pytest.raises(UserError, match=rf"rows\.jsonl, line {at + 1}: "):
        list(read)


def test_blank_lines_and_a_byte_order_mark_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}')
    assert list(store.located_rows(path)) == [
        (f"{path}, line 1", {"a": 1}),
        (f"{path}, line 4", {"a": 2}),
    ]


def test_a_line_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    store.write_jsonl(path, [{"a": 1}, {"a": "x" * 100}])
    with pytest.raises(UserError, match=r"line 2: longer than 99 bytes"):
        list(store.read_jsonl(path, max_line_bytes=99))


def test_a_number_too_long_to_read_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": ' + "9" * 5000 + "}\n")
    with pytest.raises(UserError, match="line 1"):
        list(store.read_jsonl(path))


# Whole or not at all


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_a_fault_midway_leaves_everything_as_it_was(
    tmp_path: Path, fault: type[BaseException]
) -> None:
    path = tmp_path / "rows.jsonl"
    store.write_jsonl(path, [{"old": 1}])

    def rows() -> Iterator[dict[str, int]]:
        yield {"new": 1}
        raise fault

    with pytest.raises(fault):
        store.write_jsonl(path, rows(), store.make_manifest("test", {}))
    assert os.listdir(tmp_path) == ["rows.jsonl"]
    assert path.read_text() == '{"old": 1}\n'


def test_no_nan_is_ever_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.write_jsonl(tmp_path / "rows.jsonl", [{"a": float("nan")}])
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    script = """
        import resource, sys
        from system2 import store
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        store.write_jsonl(sys.argv[1], ({"text": "x" * 100} for _ in range(10_000)))
    """
    path = tmp_path / "rows.jsonl"
    done = _python(script, path)
    assert done.returncode != 0
    assert str(path) in done.stderr.splitlines()[-1]
    assert not any(tmp_path.iterdir())


def test_a_device_is_written_straight_and_stays_a_device(tmp_path: Path) -> None:
    store.write_jsonl("/dev/null", [{"a": 1}], store.make_manifest("test", {}))
    assert Path("/dev/null").is_char_device()
    assert not store.manifest_path("/dev/null").exists()
    with pytest.raises(OSError, match="/dev/full") as caught:
        store.write_jsonl("/dev/full", [{"a": 1}])
    assert caught.value.errno == errno.ENOSPC


def test_a_link_is_followed_and_a_folder_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "there" / "rows.jsonl")
    store.write_jsonl(link, [{"a": 1}])
    assert link.is_symlink()
    assert (tmp_path / "there" / "rows.jsonl").read_text() == '{"a": 1}\n'
    with pytest.raises(IsADirectoryError):
        store.write_jsonl(tmp_path, [])
    with pytest.raises(IsADirectoryError):
        store.Journal(tmp_path, {})
    assert sorted(os.listdir(tmp_path)) == ["link.jsonl", "there"]


# Manifests


def test_a_manifest_says_what_a_file_was_made_of(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("one")
    manifest = store.make_manifest("make", {"n": 3}, seed=7, data=[data], versions={"mine": "1"})
    store.write_jsonl(tmp_path / "rows.jsonl", [], manifest)
    read = json.loads(store.manifest_path(tmp_path / "rows.jsonl").read_text())
    assert list(read) == [
        *("command", "config", "seed", "commit", "dirty", "data_hash", "versions", "created")
    ]
    assert (read["command"], read["config"], read["seed"]) == ("make", {"n": 3}, 7)
    assert read["versions"]["mine"] == "1"
    assert read["versions"]["antlr4-python3-runtime"].startswith("4.13")
    data.write_text("two")
    assert store.hash_files([data]) != read["data_hash"]


def test_the_commit_is_the_checkouts_own(tmp_path: Path) -> None:
    """In a checkout that tracks the package its commit is meant, in any other the version."""
    package = tmp_path / "system2"
    package.mkdir()
    for name in ("__init__.py", "core.py", "tree.py", "store.py"):
        (package / name).write_bytes((Path(store.__file__).parent / name).read_bytes())
    script = """
        from system2 import store
        manifest = store.make_manifest("test", {})
        print(store.__file__, manifest.commit, manifest.dirty)
    """

    def git(*words: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        done = subprocess.run(
            ["git", *author, *words], cwd=tmp_path, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    def said() -> list[str]:
        done = _python(script, cwd=tmp_path)
        return done.stdout.strip().removeprefix(str(package / "store.py")).split()

    git("init")
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    git("add", ".gitignore")
    git("commit", "-m", "something else")
    assert said() == ["system2", store.make_manifest("", {}).versions["system2"], "None"]
    git("add", "system2")
    git("commit", "-m", "the package")
    assert said() == [git("rev-parse", "HEAD"), "False"]
    (tmp_path / "new.txt").write_text("")
    assert said() == [git("rev-parse", "HEAD"), "True"]


# Problems and trees


@given(
    st.builds(
        Problem,
        *[st.text()] * 4,
        metadata=st.dictionaries(st.text(), json_values, max_size=3),
    )
)
def test_a_problem_comes_back_from_its_row(problem: Problem) -> None:
    row = json.loads(json.dumps(store.problem_row(problem)))
    assert list(row) == ["id", "task", "prompt", "answer", "metadata"]
    assert store.problem_of(row) == problem


def test_a_row_that_is_no_problem_is_named_by_line(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    row = store.problem_row(Problem("1", "How many?", "3", "counting"))
    for change in ({"prompt": 3}, {"answer": None}, {"metadata": []}):
        store.write_jsonl(path, [row, row | change])
        with pytest.raises(UserError, match=rf'line 2: .*"{next(iter(change))}"'):
            list(store.read_problems(path))


def test_a_trees_file_holds_what_scripts_rely_on(tmp_path: Path) -> None:
    tree = Tree(Problem("1", "How many?", "3", "counting"), seed=5, prompt=(1, 2))
    left = tree.add(ROOT, (3, 4), (-0.5, -1.0), terminal=True)
    tree.set_value(left, 0.75)
    tree.sampled_tokens = 2
    row = store.tree_row(
        tree,
        text=lambda tokens: "".join(map(str, tokens)),
        answer="3",
        grade=True,
        positions_computed=4,
        attempts={left: ("3", True)},
    )
    path = tmp_path / "trees.jsonl"
    assert store.write_trees(path, [row], store.make_manifest("solve", {})) == 1
    assert list(json.loads(path.read_text().splitlines()[0])) == ["manifest"]
    manifest, rows = store.read_trees(path)
    assert manifest["command"] == "solve"
    (read,) = rows
    assert list(read) == [
        *("problem", "seed", "nodes", "answer", "grade", "sampled_tokens"),
        *("positions_requested", "positions_computed"),
    ]
    names = ("parent", "tokens", "text", "logprobs", "depth", "terminal", "value")
    assert [[node[name] for name in names] for node in read["nodes"]] == [
        [None, [], "", [], 0, False, None],
        [0, [3, 4], "34", [-0.5, -1.0], 1, True, 0.75],
    ]
    assert set(read["nodes"][0]) == set(names)
    assert (read["nodes"][1]["answer"], read["nodes"][1]["grade"]) == ("3", True)


def test_a_file_without_a_manifest_is_no_trees_file(tmp_path: Path) -> None:
    for rows in ([], [{"grade": True}]):
        store.write_jsonl(tmp_path / "rows.jsonl", rows)
        with pytest.raises(UserError, match="no trees file"):
            store.read_trees(tmp_path / "rows.jsonl")


# Journals


@same_folder
@given(rows_of_json, st.data())
def test_a_journal_torn_at_any_byte_keeps_the_whole_rows(
    tmp_path: Path, rows: list[Any], data: st.DataObject
) -> None:
    path, partial = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.partial"
    partial.unlink(missing_ok=True)
    with store.Journal(path, {"n": 1}) as journal:
        for row in rows:
            journal.append(row)
    assert partial.exists() == bool(rows), "a journal without a row leaves nothing behind"
    written = partial.read_bytes() if rows else b""
    partial.write_bytes(written[: data.draw(st.integers(0, len(written)))])
    whole = max(partial.read_bytes().count(b"\n") - 1, 0)
    with store.Journal(path, {"n": 1}) as journal:
        assert list(journal) == rows[:whole]
        for row in rows[len(journal) :]:
            journal.append(row)
        journal.finish(header={"first": 1})
    assert list(store.read_jsonl(path)) == [{"first": 1}, *rows]
    assert not partial.exists()


def test_a_journal_of_another_config_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with store.Journal(path, {"n": 1, "of": 2}) as journal:
        journal.append({"a": 1})
    with store.Journal(path, {"of": 2, "n": 1}) as journal:
        assert len(journal) == 1
    with store.Journal(path, {"n": 2, "of": 2}) as journal:
        assert list(journal) == []
        journal.append({"a": 2})
        assert list(journal) == [{"a": 2}]


def test_a_journal_can_be_read_while_it_grows(tmp_path: Path) -> None:
    with store.Journal(tmp_path / "rows.jsonl", {}) as journal:
        for number in range(3):
            journal.append({"a": number})
        reading = iter(journal)
        assert next(reading) == {"a": 0}
        journal.append({"a": 3})
        assert [row["a"] for row in reading] == [1, 2]
        assert [row["a"] for row in journal] == [0, 1, 2, 3]


def test_two_processes_do_not_share_a_journal(tmp_path: Path) -> None:
    script = """
        import sys
        from system2 import store
        store.Journal(sys.argv[1], {})
    """
    with store.Journal(tmp_path / "rows.jsonl", {}) as journal:
        journal.append({"a": 1})
        assert list(journal) == [{"a": 1}]
        done = _python(script, tmp_path / "rows.jsonl")
    assert "another process is writing it" in done.stderr
    assert _python(script, tmp_path / "rows.jsonl").returncode == 0


def test_a_killed_process_loses_no_finished_row(tmp_path: Path) -> None:
    script = """
        import os, signal, sys
        from system2 import store
        journal = store.Journal(sys.argv[1], {})
        for number in range(5):
            journal.append({"a": number})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert _python(script, tmp_path / "rows.jsonl").returncode < 0
    assert not (tmp_path / "rows.jsonl").exists()
    with store.Journal(tmp_path / "rows.jsonl", {}) as journal:
        assert [row["a"] for row in journal] == [0, 1, 2, 3, 4]


def test_a_journal_to_a_device_keeps_nothing_there() -> None:
    with store.Journal("/dev/null", {}) as journal:
        journal.append({"a": 1})
        journal.finish()
    assert Path("/dev/null").is_char_device()
    assert not Path("/dev/null.partial").exists()


def _python(
    script: str, *arguments: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    words = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, timeout=60)
