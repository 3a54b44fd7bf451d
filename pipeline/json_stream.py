"""Read a JSON list one element at a time, so that memory does not grow with the file.

The standard library's scanner rather than ijson: that one's C reader writes "?" for half a surrogate pair and says
nothing.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import Stop

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


def _finite(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise _NotANumber(f"{digits[:40]}, more than a float can hold")
    return number


_DECODER = json.JSONDecoder(parse_constant=refuse, parse_float=_finite, object_pairs_hook=once)


class _Text:
    """The rest of a file as text; `buffer` holds what is read and not yet used."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._decode = file, codecs.getincrementaldecoder("utf-8-sig")()
        self.buffer, self.ended = "", False

    def more(self, least: int = 1) -> None:
        """Read at least `least` bytes, or to the end."""
        data = self._file.read(max(_CHUNK, least))
        self.ended = not data
        self.buffer += self._decode.decode(data, final=self.ended)

    def skip(self) -> str:
        """Drop white space; the next character, or "" at the end of the file."""
        while True:
            self.buffer = self.buffer.lstrip(" \t\r\n")
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
            except json.JSONDecodeError:
                if self.ended:
                    raise
            else:
                # a number may continue in what is not read yet
                if self.ended or self.buffer[end : end + 1] not in _OF_NUMBERS:
                    self.buffer = self.buffer[end:]
                    return value
            if len(self.buffer) > LARGEST:
                raise ValueError(f"no end of an element within {LARGEST:,} characters")
            self.more(len(self.buffer))  # doubled each time, so the work is linear


def elements(path: Path) -> Iterator[Any]:
    """The elements of a file that is one JSON list, in order. A byte order mark at its start is skipped.

    Raises:
        Stop: no such file, no JSON list, not UTF-8, NaN or Infinity, nested too deeply; names the element.
    """
    number = 0
    try:
        with path.open("rb") as file:
            text = _Text(file)
            first = text.skip()
            if first != "[":
                raise Stop(
                    "a JSON list of contexts",
                    f"a file that begins with {text.buffer[:20]!r}" if first else "an empty file",
                    str(path),
                    "pass a file in TAT-QA's raw schema",
                )
            text.buffer = text.buffer[1:]
            if text.skip() == "]":
                text.buffer = text.buffer[1:]
            else:
                while True:
                    yield text.value()
                    number += 1
                    after = text.skip()
                    text.buffer = text.buffer[1:]
                    if after == "]":
                        break
                    if after != ",":
                        raise ValueError(
                            f"expecting ',' or ']', found {after!r}" if after else "the file ends inside the list"
                        )
                    text.skip()
            if text.skip():
                raise ValueError(f"more after the end of the list: {text.buffer[:20]!r}")
    except OSError as error:
        raise Stop(
            "a raw TAT-QA file", error.strerror or str(error), str(path), "invoke fetch, or name a file"
        ) from None
    except RecursionError:
        raise _broken("values nested too deeply to be read", path, number) from None
    except ValueError as error:
        raise _broken(str(error).splitlines()[0], path, number) from None


def _broken(found: str, path: Path, number: int) -> Stop:
    return Stop("JSON in UTF-8", found, f"{path}, context {number}", "invoke fetch, or fix the file")
