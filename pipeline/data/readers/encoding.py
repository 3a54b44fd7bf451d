"""The text of a user's file, by its content: gzip or not; UTF-8, UTF-16 or GB18030.

A file that is damaged UTF-8 is not taken for GB18030, whose decoder accepts almost anything: most of its characters
beyond ASCII would have to be invalid UTF-8, and nearly all of them Chinese.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.errors import Stop

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_MOST_CHINESE = 0.9  # of a GB18030 file's characters beyond ASCII: other 8-bit encodings decode to rare ones
# lead bytes of GB2312's rows of punctuation and of its 6,763 Chinese characters
_COMMON = (*range(0xA1, 0xAA), *range(0xB0, 0xF8))


@dataclass(frozen=True)
class Encoding:
    """How a file's text is stored."""

    codec: str  # by Python's name
    gzip: bool = False

    @property
    def shown(self) -> str:
        """In words, and empty for plain UTF-8."""
        name = {"utf-8-sig": "", "gb18030": "GB18030", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}[self.codec]
        return ", ".join(part for part in ("gzip" if self.gzip else "", name) if part)


def detect(path: Path) -> Encoding:
    """The encoding of a whole file.

    Raises:
        Stop: none of these, or a gzip file that is cut off; names the line of the first byte that is not UTF-8.
    """
    with _reading(path), path.open("rb") as file:
        zipped = file.read(2) == _GZIP
    with open_bytes(path, zipped) as file:
        start = file.read(4)
    codec = "utf-8"
    # JSON and CSV begin with an ASCII character (RFC 4627, section 3)
    if start.startswith(codecs.BOM_UTF16_LE) or (start[:1] != b"\0" and start[1:2] == b"\0"):
        codec = "utf-16-le"
    elif start.startswith(codecs.BOM_UTF16_BE) or (start[:1] == b"\0" and start[1:2] not in (b"", b"\0")):
        codec = "utf-16-be"
    broken = _first_not_of(codec, path, zipped)
    if broken is None:
        return Encoding("utf-8-sig" if codec == "utf-8" else codec, zipped)
    if codec == "utf-8" and _is_gb18030(path, zipped):
        return Encoding("gb18030", zipped)
    line, byte = broken
    todo = "save the file as UTF-8"
    raise Stop("text in UTF-8, UTF-16 or GB18030", f"the byte 0x{byte:02x}", f"{path}, line {line}", todo)


@contextlib.contextmanager
def open_bytes(path: Path, zipped: bool) -> Iterator[BinaryIO]:
    """The bytes of a file, unzipped.

    Raises:
        Stop: it cannot be read, or the gzip data ends too early or is damaged.
    """
    with _reading(path), path.open("rb") as file:
        yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if zipped else file


@contextlib.contextmanager
def open_text(path: Path, encoding: Encoding) -> Iterator[io.TextIOWrapper]:
    """The text of a file without its byte order mark; lines end as they do in the file.

    Raises:
        Stop: as `open_bytes`.
    """
    with open_bytes(path, encoding.gzip) as file:
        text = io.TextIOWrapper(file, encoding=encoding.codec, newline="")
        if encoding.codec.startswith("utf-16") and text.read(1) != "\ufeff":
            text.seek(0)
        yield text


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        raise
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        found = "a folder" if isinstance(error, IsADirectoryError) else getattr(error, "strerror", "") or str(error)
        raise Stop("a file of questions", found, str(path), "check data.source") from None


def _first_not_of(codec: str, path: Path, zipped: bool) -> tuple[int, int] | None:
    """Line and byte of the first text that is not of that encoding, or None."""
    decode, line = codecs.getincrementaldecoder(codec)(), 1
    with open_bytes(path, zipped) as file:
        while True:
            chunk = file.read(_CHUNK)
            try:
                line += decode.decode(chunk, final=not chunk).count("\n")
            except UnicodeDecodeError as error:
                # with the first bytes of a character that the chunk before ended in
                text = error.object
                return line + text[: error.start].decode(codec).count("\n"), text[error.start]
            if not chunk:
                return None


def _is_gb18030(path: Path, zipped: bool) -> bool:
    """Whether the file is GB18030: it decodes, it is mostly Chinese beyond ASCII, and far from UTF-8."""
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    chinese = codecs.getincrementaldecoder("gb18030")()
    valid = invalid = common = beyond = 0
    with open_bytes(path, zipped) as file:
        while True:
            chunk = file.read(_CHUNK)
            as_utf8 = utf8.decode(chunk, final=not chunk)
            try:
                text = chinese.decode(chunk, final=not chunk)
            except UnicodeDecodeError:
                return False
            replaced = as_utf8.count("\ufffd")
            invalid += replaced
            valid += sum(1 for char in as_utf8 if char > "\x7f") - replaced
            others = [char for char in text if char > "\x7f"]
            beyond += len(others)
            common += sum(1 for char in others if _is_common(char))
            if not chunk:
                return invalid > valid and common >= _MOST_CHINESE * beyond


def _is_common(char: str) -> bool:
    encoded = char.encode("gb18030")
    return len(encoded) == 2 and encoded[0] in _COMMON and encoded[1] >= 0xA1
