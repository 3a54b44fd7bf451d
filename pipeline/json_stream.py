"""Read a JSON list, or JSON lines, one element at a time, so that memory does not grow with the file.

The standard library's scanner rather than ijson: that one's C reader writes "?" for half a surrogate pair and says
nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from pipeline.errors import Stop

Placed = tuple[str, Any]  # where a value is in its file, and the value

_CHUNK = 1 << 16  # characters read at once
_OF_NUMBERS = ("", ".", "e", "E", *"0123456789")
LARGEST = 1 << 26  # characters of one element; TAT-QA's largest context has 14,000


class _NotANumber(ValueError):
    pass


class _Duplicate(ValueError):
    pass


def refuse(name: str) -> Any:
    """For json's `parse_constant`: refuse NaN and Infinity, which JSON does not have."""
    raise _NotANumber(f"{name}, which JSON does not have")


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For json's `object_pairs_hook`: refuse a duplicate key, of which either value may be meant."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _Duplicate(f"{next(key for key in keys if keys.count(key) > 1)[:60]!r} twice in one object")
    return made


class WrittenFloat(float):
    """A number with a point or an exponent, and its digits as the file has them: "44.10", "1e5"."""

    __slots__ = ("digits",)
    digits: str

    def __new__(cls, digits: str) -> WrittenFloat:
        """The number of these digits."""
        made = super().__new__(cls, digits)
        made.digits = digits
        return made


def _finite(digits: str) -> float:
    number = WrittenFloat(digits)
    if math.isinf(number):
        raise _NotANumber(f"{digits[:40]}, more than a float can hold")
    return number


_DECODER = json.JSONDecoder(parse_constant=refuse, parse_float=_finite, object_pairs_hook=once)


def parse(text: str) -> Any:
    """The JSON value of a text.

    Raises:
        ValueError: not JSON, NaN or Infinity, a duplicate key, or nested too deeply.
    """
    try:
        value, end = _DECODER.raw_decode(text.lstrip(" \t\r\n"))
    except RecursionError:
        raise ValueError("values nested too deeply to be read") from None
    if more := text.lstrip(" \t\r\n")[end:].strip(" \t\r\n"):
        raise ValueError(f"more after the end: {more[:20]!r}")
    return value


def is_json(text: str) -> bool:
    """Whether a text is one JSON value, as `parse` reads it."""
    try:
        parse(text)
    except ValueError:
        return False
    return True


def end_of_value(text: str) -> int:
    """Where the JSON value ends that a text begins with, over one line or several; 0 if it begins with none."""
    try:
        return _DECODER.raw_decode(text)[1]
    except (ValueError, RecursionError):
        return 0


class _Text:
    """The rest of a file as text; `buffer` holds what is read and not yet used, `line` and `column` say where it is."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.buffer, self.ended = "", False
        self.line = self.column = 1

    @property
    def place(self) -> str:
        """Of the buffer's first character."""
        return f"line {self.line}, column {self.column}"

    def more(self, least: int = 1) -> None:
        """Read at least `least` characters, or to the end."""
        data = self._file.read(max(_CHUNK, least))
        self.ended = not data
        self.buffer += data

    def drop(self, count: int) -> None:
        """Drop the first `count` characters of the buffer."""
        used, self.buffer = self.buffer[:count], self.buffer[count:]
        if newlines := used.count("\n"):
            self.line, self.column = self.line + newlines, 1
            used = used[used.rindex("\n") + 1 :]
        self.column += len(used)

    def skip(self) -> str:
        """Drop white space; the next character, or "" at the end of the file."""
        while True:
            self.drop(len(self.buffer) - len(self.buffer.lstrip(" \t\r\n")))
            if self.buffer or self.ended:
                return self.buffer[:1]
            self.more()

    def value(self) -> Any:
        """The JSON value that begins here."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self.buffer)
            except (_NotANumber, _Duplicate):
                raise
            except json.JSONDecodeError as error:
                if self.ended:
                    self.drop(error.pos)
                    raise ValueError(error.msg) from None
            else:
                # a number may continue in what is not read yet
                if self.ended or self.buffer[end : end + 1] not in _OF_NUMBERS:
                    self.drop(end)
                    return value
            if len(self.buffer) > LARGEST:
                raise ValueError(f"no end of an element within {LARGEST:,} characters")
            self.more(len(self.buffer))  # doubled each time, so the work is linear


def elements(path: Path) -> Iterator[Any]:
    """The elements of a UTF-8 file that is one JSON list, in order. A byte order mark at its start is skipped.

    Raises:
        Stop: no such file, or as `listed`.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for _, value in listed(file, path):
                yield value
    except OSError as error:
        found, todo = error.strerror or str(error), "invoke fetch, or name a file"
        raise Stop("a raw TAT-QA file", found, str(path), todo) from None


def listed(file: TextIO, path: Path) -> Iterator[Placed]:
    """The elements of a JSON list, each with its place; `path` names the file in errors.

    Raises:
        Stop: no JSON list, not UTF-8, NaN or Infinity, nested too deeply; names line and column.
    """
    text = _Text(file)
    number = 0
    with _named(text, path):
        first = text.skip()
        if first != "[":
            found = f"a file that begins with {text.buffer[:20]!r}" if first else "an empty file"
            raise Stop("a JSON list of contexts", found, str(path), "pass a file in TAT-QA's raw schema")
        text.drop(1)
        if text.skip() == "]":
            text.drop(1)
        else:
            while True:
                where = f"{path}, row {number} (line {text.line})"
                yield where, text.value()
                number += 1
                after, comma = text.skip(), text.place
                if after == "]":
                    text.drop(1)
                    break
                if after != ",":
                    found = f"expecting ',' or ']', found {after!r}" if after else "the file ends inside the list"
                    raise ValueError(found)
                text.drop(1)
                if text.skip() == "]":
                    raise ValueError(f"nothing after the comma at {comma}")
        if text.skip():
            raise ValueError(f"more after the end of the list: {text.buffer[:20]!r}")


def objects(file: TextIO, path: Path) -> Iterator[Placed]:
    """JSON values one after another, each with its place: JSON lines, or a single object over several lines.

    Raises:
        Stop: as `listed`.
    """
    text = _Text(file)
    with _named(text, path):
        while text.skip():
            where = f"{path}, line {text.line}"
            yield where, text.value()


@contextlib.contextmanager
def _named(text: _Text, path: Path) -> Iterator[None]:
    """Errors in a file as a Stop that names the place."""
    try:
        yield
    except RecursionError:
        raise _broken("values nested too deeply to be read", path, text.place) from None
    except ValueError as error:
        raise _broken(str(error).splitlines()[0], path, text.place) from None


def _broken(found: str, path: Path, place: str) -> Stop:
    return Stop("JSON in UTF-8", found, f"{path}, {place}", "fix the file, or fetch it again")
