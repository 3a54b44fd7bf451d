"""Encodings of a user's file: found out from the whole file, and damaged UTF-8 is not taken for another one."""

from __future__ import annotations

import codecs
import gzip
import re
import subprocess
from pathlib import Path

import pytest

from pipeline.data.readers import encoding, encoding_doubt
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
    for chunk in (16, 1 << 20):  # what is no GB18030 is found in a later part, too
        monkeypatch.setattr(encoding, "_CHUNK", chunk)
        file.write_bytes(TEXT.encode("gb18030") + b"\x81\x20\xff")
        with pytest.raises(Stop):
            encoding.detect(file)


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


KOREAN = "항목,금액\n매출액은 전년 대비 증가하였다,1200\n영업이익과 당기순이익의 변동,300\n" * 20
JAPANESE = "項目,金額\n売上高は前年度と比べて増加した,1200\n営業利益と当期純利益の変動について,300\n" * 20
KANJI = "売上高,営業利益,当期純利益,前年度比,減価償却費,負債合計,資産合計,株主資本,投資有価証券,配当金\n" * 20
GERMAN = "Größe;Maß\nMaßeinheit und Größen;Straße\nGrößte Füße;Süß, Fuß, Gruß; Äüßerung\n" * 20


@pytest.mark.parametrize(
    ("text", "codec", "named"),
    [
        ("Größe", "cp1252", "CP1252"),
        (GERMAN, "cp1252", "CP1252"),
        ("Größe\n" * 1000, "cp1252", "CP1252"),
        (KOREAN, "cp949", "CP949"),
        (KOREAN, "euc-kr", "CP949"),
        (JAPANESE, "euc-jp", "EUC-JP"),
        (KANJI, "euc-jp", "EUC-JP"),
        (JAPANESE, "cp932", "CP932"),
        ("текст по-русски о выручке", "koi8-r", "KOI8-R"),
        ("Umsatz für Müller, 5 EUR", "cp1252", "CP1252"),
        ("營業收入較上年度增加，淨利潤減少，資產總額為百萬元", "big5", "BIG5"),
        ("НА УРОВНЕ ПРИБЫЛЬ РАСХОД ДОХОДЫ", "cp1251", "CP1251"),
        ("净利润", "gb18030", "GB18030"),  # too little to tell
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_what_only_decodes_as_gb18030_is_refused_with_the_encodings_that_it_may_have(
    tmp_path: Path, text: str, codec: str, named: str, zipped: bool
) -> None:
    file = tmp_path / "mine"
    data = text.encode(codec)
    file.write_bytes(gzip.compress(data) if zipped else data)
    with pytest.raises(Stop) as stopped:
        encoding.detect(file)
    new = tmp_path / "mine-utf8"
    source = f"gzip -dc {file} | iconv -f ENCODING -t UTF-8" if zipped else f"iconv -f ENCODING -t UTF-8 {file}"
    assert f"{source} > {new}\n" in stopped.value.todo  # none is recommended
    first = next(line for line in text.splitlines() if not line.isascii())
    assert f"as {named} it reads {encoding_doubt.sample(first)!r}" in stopped.value.todo


def test_a_command_writes_no_file_that_is_there(tmp_path: Path) -> None:
    file = tmp_path / "my file.csv.gz"
    (tmp_path / "my file-utf8.csv").write_text("mine")
    assert encoding_doubt.convert(file, True, "CP949").endswith(f"> '{tmp_path}/my file-utf8-2.csv'")


@pytest.mark.parametrize("text", ["0元", "售价 5 欧元\n12元", "每\n", "小 1\n2 元\n", "ID 1 学校"])
@pytest.mark.parametrize("zipped", [False, True])
def test_gb18030_that_is_utf8_by_chance_is_not_guessed(tmp_path: Path, text: str, zipped: bool) -> None:
    file = tmp_path / "mine.csv"
    data = (text.replace("售价", "price") + "\n").encode("gb18030")
    data.decode("utf-8")
    file.write_bytes(gzip.compress(b"a,b\n" + data) if zipped else b"a,b\n" + data)
    with pytest.raises(Stop) as stopped:
        encoding.detect(file)
    first = data.splitlines()[0]
    assert stopped.value.where == f"{file}, line 2"
    for reading in ("gb18030", "utf-8"):
        assert repr(encoding_doubt.sample(first.decode(reading))) in stopped.value.found
    commands = re.findall(r": ((?:\(?printf|iconv|gzip).*)", stopped.value.todo)
    for command, right in zip(commands, ("gb18030", "utf-8"), strict=True):
        subprocess.run(["bash", "-c", command], check=True)
        new = tmp_path / "mine-utf8.csv"
        found = encoding.detect(new)
        with encoding.open_text(new, found) as read:
            assert read.read() == "a,b\n" + data.decode(right)
        new.unlink()


@pytest.mark.parametrize(
    "text",
    [
        "café",
        "a cost of 5 £, 3° or ½",
        "β of 1.2",
        "один",
        "ДОМ, 5",
        "José é",
        "Weiß nicht",
        "Größe",
        "5 € 元",
        "هذا نص",
        "זה טקסט",
        "Սա տեքստ է",
    ],
)
def test_utf8_with_few_characters_is_read_as_it_is(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mine"
    file.write_text(f"amount,note\n1,{text}\n", encoding="utf-8")
    for chunk in (1, 2, 3, 1 << 20):
        monkeypatch.setattr(encoding, "_CHUNK", chunk)
        assert encoding.detect(file) == Encoding("utf-8-sig")


@pytest.mark.parametrize(
    "text",
    [
        "单位：百万元,2019年,2018年\n营业收入,1200,1100\n净利润,（300）,200\n资产总额,5600,5500\n",
        '{"instruction": "较上年下降多少？", "output": "经营活动产生的现金流量净额减少"}\n',
        "本公司及其子公司的主要会计政策如下，请阅读附注中的说明。",
    ],
)
def test_short_chinese_files_are_read_and_a_line_of_them_is_shown(tmp_path: Path, text: str) -> None:
    for codec in ("gb18030", "gbk", "gb2312"):
        file = tmp_path / "mine"
        file.write_bytes(text.encode(codec))
        found = encoding.detect(file)
        assert found.codec == "gb18030"
        assert found.sample in text and found.sample in found.shown and not found.sample.isascii()


def test_damaged_utf8_is_not_sent_to_iconv(tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_bytes(TEXT.encode() + b"\xff\n")
    with pytest.raises(Stop) as stopped:
        encoding.detect(file)
    assert "iconv" not in stopped.value.todo


def test_a_gzip_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.gz"
    file.write_bytes(gzip.compress(TEXT.encode())[:-12])
    with pytest.raises(Stop) as stopped:
        encoding.detect(file)
    assert str(file) in stopped.value.where
    with pytest.raises(Stop, match="a folder"):
        encoding.detect(tmp_path)
