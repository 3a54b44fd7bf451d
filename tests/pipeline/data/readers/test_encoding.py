"""Encodings of a user's file: found out from the whole file, and damaged UTF-8 is not taken for another one."""

from __future__ import annotations

import codecs
import gzip
from pathlib import Path

import pytest

from pipeline.data.readers import encoding
from pipeline.data.readers.encoding import Encoding
from pipeline.errors import Stop

TEXT = '{"instruction": "营业收入是多少？", "output": "（300）百万元，较上年下降"}\n' * 3


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (TEXT.encode(), Encoding("utf-8-sig")),
        (codecs.BOM_UTF8 + TEXT.encode(), Encoding("utf-8-sig")),
        (b'{"a": 1}', Encoding("utf-8-sig")),
        (TEXT.encode("gb18030"), Encoding("gb18030")),
        (TEXT.encode("utf-16"), Encoding("utf-16-le")),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), Encoding("utf-16-be")),
        (TEXT.encode("utf-16-le"), Encoding("utf-16-le")),
        (TEXT.encode("utf-16-be"), Encoding("utf-16-be")),
        (gzip.compress(TEXT.encode("gb18030")), Encoding("gb18030", gzip=True)),
    ],
)
def test_the_text_is_read_as_it_was_written(tmp_path: Path, data: bytes, found: Encoding) -> None:
    file = tmp_path / "any.name"
    file.write_bytes(data)
    assert encoding.detect(file) == found
    with encoding.open_text(file, found) as text:
        assert text.read() in (TEXT, '{"a": 1}')


def test_an_encoding_is_found_over_the_borders_of_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine"
    for chunk in range(1, 8):
        monkeypatch.setattr(encoding, "_CHUNK", chunk)
        file.write_bytes(TEXT.encode("gb18030"))
        assert encoding.detect(file).codec == "gb18030"
        file.write_bytes(TEXT.encode())
        assert encoding.detect(file).codec == "utf-8-sig"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (TEXT.encode() + b"\xff\n" + TEXT.encode(), 4),  # one broken byte in UTF-8
        ("é, ü and ß in Latin-1: Größe, café, naïve".encode("latin-1"), 1),
        ("текст по-русски, слова и слова".encode("cp1251"), 1),
        (b"\xff", 1),
        (TEXT.encode("utf-16-le")[:-1], 3),
    ],
)
def test_another_encoding_is_refused_with_its_line(tmp_path: Path, data: bytes, line: int) -> None:
    file = tmp_path / "mine"
    file.write_bytes(data)
    with pytest.raises(Stop, match=f"line {line}\n"):
        encoding.detect(file)


def test_a_gzip_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.gz"
    file.write_bytes(gzip.compress(TEXT.encode())[:-12])
    with pytest.raises(Stop) as stopped:
        encoding.detect(file)
    assert str(file) in stopped.value.where
    with pytest.raises(Stop, match="a folder"):
        encoding.detect(tmp_path)
