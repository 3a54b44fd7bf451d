"""What a person has to decide about a file's encoding: the readings that are possible, and the command for each.

A wrong encoding makes other text of a file, mostly without an error. So no encoding is recommended: the message shows
how the first line that is not ASCII reads in each of the likely ones.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.errors import Stop

# by the names of Python and iconv
ICONV = {
    "gb18030": "GB18030",
    "cp949": "CP949",
    "euc_jp": "EUC-JP",
    "cp932": "CP932",
    "big5": "BIG5",
    "cp1252": "CP1252",
    "cp1251": "CP1251",
    "koi8_r": "KOI8-R",
}
_SHOWN = 3  # readings
_READ = 1 << 16  # bytes of lines that are compared

# UTF-8 of U+0080 to U+07FF that is no GB2312 character of the frequent ones, or is more than two bytes
_NOT_BOTH = re.compile(rb"[\xd8-\xff]|[\xc2-\xd7][\x80-\xa0]")
_WORD = re.compile(r"[^\W\d_]+")
_AT_HOME = re.compile(
    "[\u00a0-\u00bf\u0370-\u03ff]"  # £, °, ½ and Greek letters stand alone
    "|[A-Za-z\u00c0-\u024f]*(?:[A-Za-z][\u00c0-\u024f]|[\u00c0-\u024f][A-Za-z\u00c0-\u024f])"  # Latin words
)
_CYRILLIC = re.compile("[\u0400-\u045f]{2,}")
_OTHER = re.compile("[\u0530-\u058f]{3,}|[\u0590-\u05ff]{3,}")  # Armenian, Hebrew


def likely(lines: Iterable[bytes], decoded_by: Iterable[str]) -> list[tuple[str, str]]:
    """The likeliest encodings of text, by Python's names, each with the first line that is not ASCII as it reads in it.

    Args:
        lines: those that are not ASCII.
        decoded_by: encodings that decode the whole file.
    """
    import charset_normalizer  # which knows the letters that languages use; `datasets` needs it, too

    data = b"".join(_first(lines))
    codecs_ = [codec for codec in decoded_by if codec in ICONV]
    if not codecs_:
        return []
    ranked = [each.encoding for each in charset_normalizer.from_bytes(data, cp_isolation=codecs_)]
    codecs_ = [*ranked, *(codec for codec in codecs_ if codec not in ranked)] if len(ranked) < 2 else ranked
    return [(codec, sample(data.decode(codec, "replace"))) for codec in codecs_[:_SHOWN]]


def _first(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines of at most `_READ` bytes altogether, and one at least."""
    size = 0
    for line in lines:
        yield line[:_READ]
        size += len(line)
        if size >= _READ:
            return


def sample(text: str) -> str:
    """The first line that is not ASCII, at most 40 characters of it around what is not; "" if all are ASCII."""
    for line in text.splitlines():
        if not line.isascii():
            at = next(i for i, char in enumerate(line) if char > "\x7f")
            return line[max(0, at - 10) : at + 30].strip()
    return ""


def convert(path: Path, zipped: bool, encoding: str = "ENCODING") -> str:
    """The command that writes a file's text as UTF-8 into a new file, from an encoding by iconv's name."""
    new = shlex.quote(str(_new(path)))
    if zipped:
        return f"gzip -dc {shlex.quote(str(path))} | iconv -f {encoding} -t UTF-8 > {new}"
    return f"iconv -f {encoding} -t UTF-8 {shlex.quote(str(path))} > {new}"


def _new(path: Path) -> Path:
    """A file beside `path` that is not there yet."""
    stem = path.name.removesuffix(".gz")
    bare, suffix = Path(stem).stem, Path(stem).suffix
    for number in itertools.count(1):
        new = path.with_name(f"{bare}-utf8{'' if number == 1 else f'-{number}'}{suffix}")
        if not new.exists():
            return new
    raise AssertionError


def may_be_both(chunks: Iterable[bytes]) -> bool:
    """Whether UTF-8 that is not all ASCII may as well be GB18030: every character is a frequent one of GB2312, too."""
    before, seen = b"", False
    for chunk in chunks:
        seen = seen or not chunk.isascii()
        if _NOT_BOTH.search(before + chunk):
            return False
        before = chunk[-1:] if chunk[-1:] >= b"\xc2" else b""
    return seen


def is_at_home(texts: Iterable[str]) -> bool:
    """Whether a character beyond ASCII stands as texts of UTF-8 have it: in a word of its script, or as a symbol.

    `0Ԫ`, a letter of a rare alphabet beside a digit, does not: in GB18030 it is `0元`.
    """
    return any(
        _AT_HOME.search(text)
        or any(_is_word(found.group()) for found in _CYRILLIC.finditer(text))
        or any(len(set(found.group())) > 1 for found in _OTHER.finditer(text))
        for text in texts
        if not text.isascii()
    )


def _is_word(letters: str) -> bool:
    return len(set(letters)) > 1 and (letters.islower() or letters.isupper() or letters.istitle())


def both(path: Path, zipped: bool, line: int, raw: bytes) -> Stop:
    """The refusal of a file that is UTF-8 or GB18030, with the first line that tells no more."""
    as_utf8, as_gb = sample(raw.decode("utf-8")), sample(raw.decode("gb18030", "replace"))
    name, new = shlex.quote(str(path)), shlex.quote(str(_new(path)))
    mark = f"printf '\\357\\273\\277' | cat - {name} > {new}"
    if zipped:
        mark = f"(printf '\\357\\273\\277'; gzip -dc {name}) > {new}"
    return Stop(
        "text whose encoding can be told",
        f"GB18030 that reads {as_gb!r}, or UTF-8 that reads {as_utf8!r}",
        f"{path}, line {line}",
        f"if it is GB18030: {convert(path, zipped, 'GB18030')}\n"
        f"        if it is UTF-8, mark it as such: {mark}\n"
        "        and pass the new file",
    )


def neither(path: Path, zipped: bool, line: int, byte: int, readings: Iterable[tuple[str, str]]) -> Stop:
    """The refusal of a file in an encoding that is not read, with what it may be."""
    todo = f"find its encoding (file, or the program that wrote it) and convert it: {convert(path, zipped)}"
    shown = [f"        as {ICONV[codec]} it reads {text!r}" for codec, text in readings]
    todo = "\n".join([todo, *shown])
    return Stop("text in UTF-8, UTF-16 or GB18030", f"the byte 0x{byte:02x}", f"{path}, line {line}", todo)
