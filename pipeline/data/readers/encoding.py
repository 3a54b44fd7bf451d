"""The text of a user's file, by its content: gzip or not; UTF-8, UTF-16 or GB18030.

GB18030's decoder accepts almost anything: damaged UTF-8, Korean, Japanese, and words such as `Größe` in an encoding of
8 bits. A file is taken for it only if its characters are many and spread as those of Chinese text are.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

from pipeline.data.readers import encoding_doubt
from pipeline.data.readers.encoding_doubt import ICONV
from pipeline.errors import Stop

_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
# GB2312 by lead byte: punctuation, kana, the 3,755 common characters by their sound in Chinese, the rare ones
_KANA, _FREQUENT, _SAID_X_TO_Z, _RARE = (0xA4, 0xA5), range(0xB0, 0xD8), range(0xD0, 0xD8), range(0xD8, 0xF8)
_COMMON = (*range(0xA1, 0xAA), *_FREQUENT, *_RARE)
_LEAST_CHINESE = 10  # different characters: fewer are no evidence


@dataclass(frozen=True)
class Encoding:
    """How a file's text is stored."""

    codec: str  # by Python's name
    gzip: bool = False
    sample: str = field(default="", compare=False)  # a line of GB18030 as it is read: a person sees if it is another

    @property
    def shown(self) -> str:
        """In words, and empty for plain UTF-8."""
        guessed = f"GB18030 (it reads {self.sample!r})"
        name = {"utf-8-sig": "", "gb18030": guessed, "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}[self.codec]
        return ", ".join(part for part in ("gzip" if self.gzip else "", name) if part)


def detect(path: Path) -> Encoding:
    """The encoding of a whole file.

    Raises:
        Stop: none of these, UTF-8 that may as well be GB18030, or a gzip file that is cut off; names the line, and how
        it reads in the encodings that it may have.
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
        marked = codec != "utf-8" or start.startswith(codecs.BOM_UTF8)
        if not marked and _may_be_both(path, zipped):
            line, raw = next(_not_ascii(path, zipped))
            raise encoding_doubt.both(path, zipped, line, raw)
        return Encoding("utf-8-sig" if codec == "utf-8" else codec, zipped)
    line, byte = broken
    if codec == "utf-8":
        text = _Text(path, zipped)
        if text.is_chinese:
            return Encoding("gb18030", zipped, text.sample)
        if not text.is_mostly_utf8:
            readings = encoding_doubt.likely((raw for _, raw in _not_ascii(path, zipped)), text.decoded_by)
            raise encoding_doubt.neither(path, zipped, line, byte, readings)
    todo = "save the file as UTF-8"
    raise Stop("text in UTF-8, UTF-16 or GB18030", f"the byte 0x{byte:02x}", f"{path}, line {line}", todo)


def _may_be_both(path: Path, zipped: bool) -> bool:
    """Whether a file of UTF-8 may as well be GB18030, by every character in it beyond ASCII."""
    with open_bytes(path, zipped) as file:
        if not encoding_doubt.may_be_both(iter(lambda: file.read(_CHUNK), b"")):
            return False
    return not encoding_doubt.is_at_home(raw.decode() for _, raw in _not_ascii(path, zipped))


def _not_ascii(path: Path, zipped: bool) -> Iterator[tuple[int, bytes]]:
    """The lines that are not ASCII, with their numbers."""
    with open_bytes(path, zipped) as file:
        for number, line in enumerate(file, 1):
            if not line.isascii():
                yield number, line


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


class _Text:
    """What a file that is not UTF-8 decodes to, by each encoding that it may have."""

    def __init__(self, path: Path, zipped: bool) -> None:
        utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        others = {codec: codecs.getincrementaldecoder(codec)() for codec in ICONV}
        self._chinese: Counter[str] = Counter()  # characters beyond ASCII, read as GB18030
        self._valid = self._invalid = 0  # characters beyond ASCII, read as UTF-8
        self.sample = ""
        with open_bytes(path, zipped) as file:
            while True:
                chunk = file.read(_CHUNK)
                as_utf8 = utf8.decode(chunk, final=not chunk)
                replaced = as_utf8.count("\ufffd")
                self._invalid += replaced
                self._valid += sum(1 for char in as_utf8 if char > "\x7f") - replaced
                for codec, decoder in list(others.items()):
                    try:
                        text = decoder.decode(chunk, final=not chunk)
                    except UnicodeDecodeError:
                        del others[codec]
                        continue
                    if codec == "gb18030":
                        self._chinese.update(char for char in text if char > "\x7f")
                        self.sample = self.sample or encoding_doubt.sample(text)
                if not chunk:
                    break
        self.decoded_by = list(others)
        if "gb18030" not in others:  # a later part of the file is no GB18030
            self._chinese.clear()

    @property
    def is_mostly_utf8(self) -> bool:
        """Whether it is UTF-8 with a few damaged bytes."""
        return self._valid >= self._invalid

    @property
    def is_chinese(self) -> bool:
        """Whether it is Chinese text in GB18030."""
        codes = {char: char.encode("gb18030") for char in self._chinese}
        common = {char: code for char, code in codes.items() if len(code) == 2 and code[1] >= 0xA1}

        def share(of: Iterable[int], least_trail: int = 0xA1) -> int:
            return sum(
                self._chinese[char] for char, (lead, trail) in common.items() if lead in of and trail >= least_trail
            )

        frequent, rare = share(_FREQUENT), share(_RARE)
        return (
            not self.is_mostly_utf8
            and sum(1 for lead, _ in common.values() if lead in _FREQUENT) >= _LEAST_CHINESE
            and share(_COMMON) >= 0.9 * self._chinese.total()
            and rare <= 0.15 * frequent  # letters of 8 bits in pairs are rare characters
            and share(_KANA) <= 0.02 * self._chinese.total()  # EUC-JP has its kana at the same place
            # a third of Chinese text; EUC-KR has no Hangul there, and EUC-JP its rare characters
            and share(_SAID_X_TO_Z) >= frequent / 30
            and share(_FREQUENT, 0xC0) <= 0.9 * frequent  # letters of 8 bits are at 0xC0 and above
        )
