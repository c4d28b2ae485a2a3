"""Files: JSON lines with manifests, written whole or not at all; work that can be taken up again.

Everything a command leaves behind goes through here. A file appears under its own name only when
it is complete; until then a long job's finished rows lie in a `Journal`, and the same job, started
again, picks them up. JSON is strict: no NaN, no infinity (unknown is null).
"""

import errno
import fcntl
import hashlib
import json
import os
import platform
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeAlias, cast

from system2 import __version__
from system2.core import Problem, Tokens, UserError
from system2.tree import Tree

Row: TypeAlias = dict[str, Any]
"""One line of a JSONL file: an object of what JSON can hold."""

MAX_LINE_BYTES = 1 << 28
"""A longer line is refused: it is no row of ours, and it would fill the memory."""

_RECORDED = ("torch", "transformers", "tokenizers", "math-verify", "antlr4-python3-runtime")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is needed to make a file again.

    `commit` is the checkout's commit, or "system2 VERSION" for an installed package; `dirty` says
    whether the checkout held changes, None where there is no checkout. `data_hash` is the hash of
    the files read, None where none was. `created` is UTC, ISO 8601. Seeds are in `config` too
    where there are several; `seed` is the one on the command line, None for a command without.
    """

    command: str
    config: Mapping[str, Any]
    seed: int | None
    commit: str
    dirty: bool | None
    data_hash: str | None
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    created: str = ""


def make_manifest(
    command: str,
    config: Mapping[str, Any],
    *,
    seed: int | None = None,
    data: Iterable[str | os.PathLike[str]] = (),
    versions: Mapping[str, str] | None = None,
) -> Manifest:
    """Return the manifest of a run that starts now and reads the files `data`.

    `versions` adds to (or overrides) the recorded versions of Python and of the libraries that
    results depend on. Raises: `OSError` where a data file cannot be read.
    """
    files = [Path(path) for path in data]
    commit, dirty = _commit()
    return Manifest(
        command=command,
        config=dict(config),
        seed=seed,
        commit=commit,
        dirty=dirty,
        data_hash=hash_files(files) if files else None,
        versions={**_versions(), **(versions or {})},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def hash_files(paths: Iterable[str | os.PathLike[str]]) -> str:
    """Return one hash (32 hex digits) of the files' contents, in the order given."""
    total = hashlib.blake2b(digest_size=16)
    for path in paths:
        with open(path, "rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _versions() -> dict[str, str]:
    found = {"system2": __version__, "python": platform.python_version()}
    for name in _RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def _commit() -> tuple[str, bool | None]:
    """Return (commit, dirty) of the checkout this file is tracked in, else (version, None)."""

    def git(*words: str) -> str:
        folder = str(Path(__file__).parent)
        done = subprocess.run(
            # no lock: one that is killed here would leave it behind in the user's checkout
            ["git", "--no-optional-locks", "-C", folder, *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        return done.stdout.strip()

    try:
        # An installed package may lie in a checkout of something else, as an ignored file.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return f"system2 {__version__}", None


# Writing


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Generator[BinaryIO]:
    """Open a new binary file that takes the place of `path` only if the block ends well.

    Missing folders are made. Whatever goes wrong inside the block, Ctrl-C included, `path` stays
    as it was and nothing is left beside it. A device or a pipe (`/dev/stdout`) is written straight.
    Raises: `OSError` (with the name of the file) on a full disk or a folder that is not writable.
    """
    if _is_stream(path):
        with naming(path), open(path, "wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{secrets.token_hex(8)}.system2.tmp"
    try:
        with naming(target):
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _is_stream(path: str | os.PathLike[str]) -> bool:
    """Say whether the path is a device or a pipe. Raises: `IsADirectoryError` on a folder."""
    if Path(path).is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return Path(path).exists() and not Path(path).is_file()


@contextmanager
def naming(path: str | os.PathLike[str]) -> Generator[None]:
    """Give an error of a full disk, which does not know its file, the name of `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM and error.filename is None:
            error.filename = str(path)
        raise


def write_jsonl(
    path: str | os.PathLike[str],
    rows: Iterable[Mapping[str, Any]],
    manifest: Manifest | None = None,
) -> int:
    """Write rows, one a line, whole or not at all; return how many.

    The manifest goes into a file beside it (`manifest_path`), because others read these formats.
    Raises: `ValueError` on a NaN or an infinity, `OSError` as `whole_file`.
    """
    num_rows = 0
    with whole_file(path) as file:
        for row in rows:
            file.write(_line(row))
            num_rows += 1
        if manifest is not None:
            write_manifest(path, manifest)
    return num_rows


def manifest_path(path: str | os.PathLike[str]) -> Path:
    """Return where the manifest of a file lies that cannot hold it: `NAME.manifest.json`."""
    return Path(f"{os.fspath(path)}.manifest.json")


def write_manifest(path: str | os.PathLike[str], manifest: Manifest) -> None:
    """Write the manifest of `path` beside it; a device or a pipe gets none."""
    if _is_stream(path):
        return
    with whole_file(manifest_path(path)) as file:
        file.write(json.dumps(asdict(manifest), indent=2, allow_nan=False).encode() + b"\n")


def _line(row: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair: only an escape can hold it
        return json.dumps(row, allow_nan=False).encode() + b"\n"


# Reading


def read_jsonl(
    path: str | os.PathLike[str], *, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[Row]:
    """Yield the rows of a JSONL file, lazily. Raises: as `located_rows`."""
    for _, row in located_rows(path, max_line_bytes=max_line_bytes):
        yield row


def located_rows(
    path: str | os.PathLike[str], *, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[tuple[str, Row]]:
    """Yield (where, row), lazily, `where` being "FILE, line N"; blank lines are passed over.

    Raises: `UserError` that names the file and the line (from 1) where a line is not strict JSON,
    is no object, or is longer than `max_line_bytes`; `OSError` where the file cannot be read.
    """
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(max_line_bytes + 1):
            number += 1
            if len(line) > max_line_bytes:
                raise UserError(f"{path}, line {number}: longer than {max_line_bytes} bytes")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                where = f"{path}, line {number}"
                yield where, _parse(line, where)


def _parse(line: bytes, where: str) -> Row:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        row = json.loads(line.decode(), parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text (byte {error.start + 1} of the line)") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error.msg} at character {error.colno})") from None
    except RecursionError:
        raise UserError(f"{where}: nested too deep to read") from None
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error})") from None
    if not isinstance(row, dict):
        raise UserError(f"{where}: not an object, but {line[:40].decode(errors='replace').strip()}")
    return cast(Row, row)


# Problems and trees


def problem_row(problem: Problem) -> Row:
    """Return a problem as a row `id, task, prompt, answer, metadata`."""
    return {
        "id": problem.id,
        "task": problem.task,
        "prompt": problem.prompt,
        "answer": problem.answer,
        "metadata": dict(problem.metadata),
    }


def problem_of(row: Mapping[str, Any], where: str = "problem") -> Problem:
    """Return the problem that a row holds; its metadata may be missing.

    Raises: `UserError` that starts with `where` and names the field that is missing or no text.
    """
    for name in ("id", "task", "prompt", "answer"):
        if not isinstance(row.get(name), str):
            raise UserError(f'{where}: needs the text "{name}"; it has {sorted(row)}')
    metadata: object = row.get("metadata", {})
    if not isinstance(metadata, dict):
        raise UserError(f'{where}: its "metadata" is no object')
    return Problem(
        id=row["id"],
        task=row["task"],
        prompt=row["prompt"],
        answer=row["answer"],
        metadata=cast(Row, metadata),
    )


def read_problems(path: str | os.PathLike[str]) -> Iterator[Problem]:
    """Yield the problems of a JSONL file. Raises: as `read_jsonl` and `problem_of`."""
    for where, row in located_rows(path):
        yield problem_of(row, where)


def tree_row(
    tree: Tree,
    *,
    text: Callable[[Tokens], str],
    answer: str | None,
    grade: bool | None,
    positions_computed: int | None,
    attempts: Mapping[int, tuple[str | None, bool | None]] | None = None,
) -> Row:
    """Return a search's record as the row of a trees file.

    `text` turns the tokens a node adds into text; `answer` is what was selected, None where there
    is none; `positions_computed` counts the positions the policy's forwards took, None: not
    counted (the tree knows how many were requested; what was not computed was reused).
    `attempts` gives finished nodes, by index, an "answer" and a "grade" of their own.
    """
    nodes: list[Row] = [
        {
            "parent": node.parent,
            "tokens": list(node.tokens),
            "text": text(node.tokens),
            "logprobs": list(node.logprobs),
            "depth": node.depth,
            "terminal": node.terminal,
            "value": node.value,
        }
        for node in tree.nodes
    ]
    for index, (found, verdict) in (attempts or {}).items():
        nodes[index] |= {"answer": found, "grade": verdict}
    return {
        "problem": problem_row(tree.problem),
        "seed": tree.seed,
        "nodes": nodes,
        "answer": answer,
        "grade": grade,
        "sampled_tokens": tree.sampled_tokens,
        "positions_requested": tree.positions_requested,
        "positions_computed": positions_computed,
    }


def write_trees(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], manifest: Manifest
) -> int:
    """Write a trees file: the manifest's line, then a row a tree; return how many trees.

    Raises: as `write_jsonl`.
    """

    def lines() -> Iterator[Mapping[str, Any]]:
        yield {"manifest": asdict(manifest)}
        yield from rows

    return write_jsonl(path, lines()) - 1


def read_trees(path: str | os.PathLike[str]) -> tuple[Row, Iterator[Row]]:
    """Return the manifest of a trees file and its rows, lazily.

    Raises: `UserError` where the first line is no manifest, and as `read_jsonl`.
    """
    rows = read_jsonl(path)
    first = next(rows, None) or {}
    manifest: object = first.get("manifest")
    if not isinstance(manifest, dict):
        raise UserError(f"{path}: no trees file; its first line is not a manifest")
    return cast(Row, manifest), rows


# Work that can be taken up again


class Journal:
    """The finished rows of a file in the making, safe from a kill at any moment.

    They lie in `PATH.partial`, a line each, flushed as they are appended. Opened again for the
    same `config` (anything that JSON can hold; it must say all that the rows depend on) it still
    has them, less a last line torn by the kill; for another config, or another version of the
    package, it starts anew. `finish` makes the whole file at `path`.

    Raises: `UserError` where another process is writing the same file.
    """

    def __init__(self, path: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
        self._path = Path(path)
        self._partial = Path(f"{os.path.realpath(path)}.partial")
        if _is_stream(path):  # nothing to take up
            opened = tempfile.TemporaryFile("a+b")  # noqa: SIM115  (close() does)
        else:
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            opened = open(self._partial, "a+b")  # noqa: SIM115  (close() does)
        self._file = cast(BinaryIO, opened)
        try:
            # A record lock: it dies with this process, even where a child outlives it.
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UserError(f"{self._partial}: another process is writing it") from None
        self._start, self._num_rows = self._recover(_line(journal_key(config)))

    def _recover(self, key: bytes) -> tuple[int, int]:
        """Keep the whole rows there are; return where the rows start and how many there are."""
        self._file.seek(0)
        if self._file.readline() != key:
            self._file.truncate(0)
            self._append(key)
            return len(key), 0
        end, num_rows = len(key), 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            num_rows += 1
        self._file.truncate(end)
        return len(key), num_rows

    def _append(self, line: bytes) -> None:
        with naming(self._partial):
            self._file.write(line)
            self._file.flush()

    def __len__(self) -> int:
        """Return how many rows are finished."""
        return self._num_rows

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows that are finished now, in the order they were appended."""
        position = self._start
        for number in range(1, self._num_rows + 1):
            self._file.seek(position)
            line = self._file.readline()
            position = self._file.tell()
            yield _parse(line, f"{self._partial}, row {number}")

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a finished row. Raises: `ValueError` on a NaN, `OSError` on a full disk."""
        self._append(_line(row))
        self._num_rows += 1

    def finish(self, *, header: Mapping[str, Any] | None = None) -> None:
        """Make the whole file at `path`, after a first line `header`, and drop the partial one."""
        with whole_file(self._path) as file:
            if header is not None:
                file.write(_line(header))
            self._file.seek(self._start)
            shutil.copyfileobj(self._file, file)
        self._partial.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Let go of the file; what is finished stays for the next time, nothing else."""
        if self._num_rows == 0 and not self._file.closed:
            self._partial.unlink(missing_ok=True)
        with naming(self._partial):  # closing tries once more to write what a full disk refused
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def journal_key(config: Mapping[str, Any]) -> Row:
    """Return the row by which a journal knows its config again, and the package's version."""
    text = json.dumps([__version__, config], sort_keys=True, allow_nan=False)
    return {"journal": hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}
