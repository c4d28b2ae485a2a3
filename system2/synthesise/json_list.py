"""Objects out of a file of JSON lines or of one JSON list, as a stream.

Place in the flow: published data -> objects, each with its line -> the readers of formats. A list
may be larger than memory: it is read on as its items are asked for.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from system2.core import UserError
from system2.store import MAX_LINE_BYTES, located_rows


def located_items(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object), lazily, of JSON lines or of one JSON list.

    `where` is "FILE, line N", the line where the object starts. Raises: `UserError` that starts
    with it where there is no object, or it is no strict JSON; `OSError`.
    """
    with open(path, "rb") as file:
        head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return _listed(path) if head.startswith(b"[") else located_rows(path)


def _listed(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, object) of a JSON list, which is not held as a whole."""
    with open(path, encoding="utf-8-sig", errors="strict") as file:
        stream = Stream(file.read, str(path))
        stream.take("[")
        is_next = not stream.comes("]")
        while is_next:
            where = stream.where()
            found = stream.value()
            if not isinstance(found, dict):
                raise UserError(f"{where}: not an object, but {str(found)[:40]}")
            yield where, cast(dict[str, Any], found)
            if is_next := not stream.comes("]"):
                stream.take(",")  # another must follow
        stream.take("]")
        if rest := stream.peek():
            raise UserError(f"{stream.where()}: {rest!r} follows the end of the list")


class Stream:
    """JSON values out of a text that is read as they are asked for."""

    def __init__(self, read: Callable[[int], str], name: str) -> None:
        self._read, self._name = read, name
        self._text, self._at, self._line = "", 0, 1
        self._decoder = json.JSONDecoder(parse_constant=self._refuse)

    @staticmethod
    def _refuse(constant: str) -> None:
        raise UserError(f"{constant} is no JSON")

    def where(self) -> str:
        """Return the file and the line of what comes next."""
        _ = self.peek()
        return f"{self._name}, line {self._line}"

    def peek(self) -> str:
        """Return the next character that is no space, nothing at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._line += self._text[self._at] == "\n"
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more(65_536):
                return ""

    def comes(self, sign: str) -> bool:
        """Say whether a sign comes next."""
        return self.peek() == sign

    def take(self, sign: str) -> None:
        """Pass over a sign. Raises: `UserError` where something else comes."""
        found = self.peek()
        if found != sign:
            raise UserError(f"{self.where()}: {found or 'the end'!r} where {sign!r} is needed")
        self._at += 1

    def value(self) -> object:
        """Return the next value. Raises: `UserError`."""
        _ = self.peek()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
                break
            except json.JSONDecodeError as error:
                known = len(self._text) - self._at
                at = f"{self._name}, line {self._line + error.lineno - self._first_line()}"
                if known <= MAX_LINE_BYTES and self._more(max(65_536, known)):
                    continue
                raise UserError(f"{at}: not JSON ({error.msg})") from None
            except RecursionError:
                raise UserError(f"{self.where()}: nested too deep to read") from None
            except ValueError as error:  # a number of too many digits
                raise UserError(f"{self.where()}: not JSON ({error})") from None
            except UserError as error:
                raise UserError(f"{self.where()}: {error}") from None
        self._line += self._text.count("\n", self._at, end)
        self._at = end
        return found

    def _first_line(self) -> int:
        """Return the number, in what is held, of the line that comes next."""
        return self._text.count("\n", 0, self._at) + 1

    def _more(self, size: int) -> bool:
        """Read on, dropping what was passed over; return whether there was more."""
        try:
            added = self._read(size)
        except UnicodeDecodeError as error:
            raise UserError(f"{self._name}: not UTF-8 text ({error.reason})") from None
        self._text, self._at = self._text[self._at :] + added, 0
        return bool(added)
