"""Rows of a file as objects: what it is, is told from its content, and each broken line is a fault of its own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import json_stream
from pipeline.data.readers import delimited, records
from pipeline.errors import Stop

ROWS = [{"instruction": "a, b", "output": "2019-12-01"}, {"instruction": 'c "d"\ne', "output": "1.50"}]
CSV = 'instruction,output\n"a, b",2019-12-01\n"c ""d""\ne",1.50\n'


def _read(path: Path) -> tuple[str, list[tuple[str, Any]], list[Stop]]:
    faults: list[Stop] = []
    kind, rows = records.read(path, faults.append)
    return kind, list(rows), faults


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (json.dumps(ROWS), "JSON"),
        (json.dumps(ROWS, indent=1), "JSON"),
        ("\n".join(map(json.dumps, ROWS)), "JSON lines"),
        ("\n\n".join(map(json.dumps, ROWS)) + "\n\n", "JSON lines"),
        ("\n".join(json.dumps(row, indent=1) for row in ROWS), "JSON"),
        (CSV, "CSV"),
        (CSV.replace(",", "\t").replace('"a\t b"', '"a, b"'), "CSV"),
        (CSV.replace(",", ";").replace('"a; b"', '"a, b"').replace("\n", "\r\n").replace('d""\r\n', 'd""\n'), "CSV"),
    ],
)
def test_every_form_gives_the_same_texts(tmp_path: Path, data: str, kind: str) -> None:
    file = tmp_path / "name.that-says-nothing"
    file.write_bytes(data.encode())
    assert _read(file) == (kind, _read(file)[1], [])
    assert [row for _, row in _read(file)[1]] == ROWS
    file.write_bytes(gzip.compress(data.encode()))
    assert _read(file)[0] == f"{kind}, gzip"
    assert [row for _, row in _read(file)[1]] == ROWS


def test_parquet(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pylist([*ROWS, {"instruction": "f", "output": None}])
    pyarrow.parquet.write_table(table, tmp_path / "x")
    kind, rows, _ = _read(tmp_path / "x")
    assert kind == "Parquet"
    assert [row for _, row in rows] == [*ROWS, {"instruction": "f"}]
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:-8])
    with pytest.raises(Stop, match="Parquet"):
        _read(tmp_path / "x")


def test_rows_have_their_places(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text(json.dumps(ROWS, indent=1))
    assert [place for place, _ in _read(file)[1]] == [f"{file}, row 0 (line 2)", f"{file}, row 1 (line 6)"]
    file.write_text(CSV)
    assert [place for place, _ in _read(file)[1]] == [f"{file}, line 2", f"{file}, line 4"]


def test_each_broken_line_is_a_fault_and_the_others_are_read(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text('{"a": 1}\n{"a": \n{"a": NaN}\n{"a": 1} 2\n{"a": 1, "a": 2}\n' + "[" * 100_000 + '\n{"a": 2}\n')
    _, rows, faults = _read(file)
    assert [row for _, row in rows] == [{"a": 1}, {"a": 2}]
    assert [each.where for each in faults] == [f"{file}, line {number}" for number in (2, 3, 4, 5, 6)]
    assert faults[0].found == "Expecting value, column 7"
    file.write_text("a,b\n1,2\n3\n4,5,6\n7,8\n")
    _, rows, faults = _read(file)
    assert [row for _, row in rows] == [{"a": "1", "b": "2"}, {"a": "7", "b": "8"}]
    assert [each.where for each in faults] == [f"{file}, line 3", f"{file}, line 4"]


@pytest.mark.parametrize("first", ['{"a": ', '{"a": "', '{"a": 1, "b": "' + "x" * 70_000 + '"}', '{"a": 1}}'])
def test_a_broken_or_long_first_line_does_not_hide_the_others(tmp_path: Path, first: str) -> None:
    file = tmp_path / "x"
    file.write_text(first + '\n{"a": 1}\n{"a": \n{"a": 2}\n')
    kind, rows, faults = _read(file)
    whole = json_stream.is_json(first)
    assert kind == "JSON lines" and [row["a"] for _, row in rows] == [1] * whole + [1, 2]
    assert [each.where for each in faults] == [f"{file}, line {number}" for number in ((3,) if whole else (1, 3))]


def test_an_object_over_lines_is_no_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text('{"a": [\n{"b": 1}\n]}\n')
    assert _read(file) == ("JSON", [(f"{file}, line 1", {"a": [{"b": 1}]})], [])
    file.write_text('{"a": 1} {"a": 2}\n{"a": 3}\n')
    assert [row["a"] for _, row in _read(file)[1]] == [1, 2, 3]


@pytest.mark.parametrize("before", ["\n", "\r\n\r\n", "  \n", ",\n"])
def test_blank_lines_before_the_column_names_are_skipped(tmp_path: Path, before: str) -> None:
    file = tmp_path / "x"
    file.write_bytes((before + "a,b\n1,2\n3\n").encode())
    kind, rows, faults = _read(file)
    assert (kind, [row for _, row in rows]) == ("CSV", [{"a": "1", "b": "2"}])
    heading = before.count("\n") + 1
    assert (faults[0].wanted, faults[0].where) == (f"2 cells, as in line {heading}", f"{file}, line {heading + 2}")
    file.write_bytes((before + "a,b\n").encode())
    assert _read(file)[1] == []


def test_a_csv_table_has_rows_of_one_width(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text('\n,2019,2018\n"Sales, net","1,200",\n,,\n\nOther,44.10,56.7\n')
    assert delimited.table(file) == [["", "2019", "2018"], ["Sales, net", "1,200", ""], ["Other", "44.10", "56.7"]]
    for row in ("Sales,1,200,1,100", "Sales,1200"):
        file.write_text(f",2019,2018\nOther,44.10,56.7\n{row}\n")
        with pytest.raises(Stop) as stopped:
            delimited.table(file)
        assert (stopped.value.wanted, stopped.value.where) == ("3 cells, as in line 1", f"{file}, line 3")
        assert stopped.value.found == str(row.count(",") + 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b" \n", "an empty file"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"%PDF-1.7, a", "begins with"),
        (b"hello", "begins with"),
        (b"a,a\n1,2", "column names"),
        (b"a,\n1,2", "column names"),
        (b",,\n , \n", "column names"),
        (b'a,b\n1,"2', "CSV"),
        (b'[{"a": 1},]', "nothing after the comma at line 1, column 10"),
        (b'[{"a": 1}\n {"a": 2}]', "line 2, column 2"),
        (b'[{"a": 1}', "line 1, column 10"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "x"
    file.write_bytes(data)
    with pytest.raises(Stop) as stopped:
        _read(file)
    assert message in str(stopped.value) and str(file) in stopped.value.where
