"""CSV as people have it: the cells are what was meant, and what may be meant otherwise is a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.data.readers import records
from pipeline.errors import Stop


def _read(tmp_path: Path, text: str) -> tuple[str, list[dict[str, Any]], list[Stop]]:
    file = tmp_path / "x"
    file.write_bytes(text.encode())
    faults: list[Stop] = []
    kind, rows = records.read(file, faults.append)
    return kind, [row for _, row in rows], faults


@pytest.mark.parametrize(
    "text",
    [
        'instruction, output\n"Say 1", "1 EUR, net"\n',
        'instruction, output\nSay 1,  "1 EUR, net"\n',
        '"instruction", "output"\n"Say 1", "1 EUR, net"\n',
        "instruction; output\n" + 'Say 1; "1 EUR, net"\n',
        'instruction,output\n"Say 1","1 EUR, net"\n',
    ],
)
def test_quotes_after_a_space_are_quotes(tmp_path: Path, text: str) -> None:
    assert _read(tmp_path, text) == ("CSV", [{"instruction": "Say 1", "output": "1 EUR, net"}], [])


def test_a_space_between_quotes_or_without_quotes_is_kept(tmp_path: Path) -> None:
    _, rows, faults = _read(tmp_path, 'a,b\n"1"," ""x"" y"\n"2"," z"\n3, w\n')
    assert [row["b"] for row in rows] == [' "x" y', " z", " w"] and not faults


def test_quotes_after_a_space_in_one_row_alone_are_a_fault(tmp_path: Path) -> None:
    _, rows, faults = _read(tmp_path, 'a,b\n"1","x"\n"2", "y"\n')
    assert [row["b"] for row in rows] == ["x"]
    assert faults[0].where.endswith("line 3") and '"y"' in faults[0].found


def test_a_late_row_decides_too(tmp_path: Path) -> None:
    _, rows, _ = _read(tmp_path, "a, b\n" + "1, 2\n" * 50_000 + '3, "4, 5"\n')
    assert rows[0] == {"a": "1", "b": "2"} and rows[-1] == {"a": "3", "b": "4, 5"}


@pytest.mark.parametrize("index", ["0 1 2", "3 7 8"])  # of a frame, and of some rows of one
def test_pandas_index_column_is_left_out_and_said(tmp_path: Path, index: str) -> None:
    lines = [f"{number},Say {number},{number} EUR\n" for number in index.split()]
    kind, rows, faults = _read(tmp_path, ",instruction,output\n" + "".join(lines))
    assert kind == "CSV, its unnamed column of row numbers left out" and not faults
    assert rows == [{"instruction": f"Say {number}", "output": f"{number} EUR"} for number in index.split()]


@pytest.mark.parametrize("cells", ["0 a", "1 0", "0 0", "0 1.5"])
def test_an_unnamed_column_of_data_is_refused(tmp_path: Path, cells: str) -> None:
    with pytest.raises(Stop, match="a name for the first column") as stopped:
        _read(tmp_path, ",output\n" + "".join(f"{cell},x\n" for cell in cells.split()))
    assert stopped.value.where.endswith("line 3") and repr(cells.split()[1]) in stopped.value.found


@pytest.mark.parametrize("line", ["sep=;\n", "sep=;\r\n", '"sep=;"\n', "\nsep=;\n"])
def test_excels_line_names_the_delimiter(tmp_path: Path, line: str) -> None:
    kind, rows, faults = _read(tmp_path, line + "instruction, all;output\nSay 0,5;0,5 EUR\n1\n")
    assert (kind, rows) == ("CSV", [{"instruction, all": "Say 0,5", "output": "0,5 EUR"}])
    heading = line.count("\n") + 1
    assert (faults[0].wanted, faults[0].where[-6:]) == (f"2 cells, as in line {heading}", f"line {heading + 2}")


def test_a_single_column_is_read(tmp_path: Path) -> None:
    for heading in ("messages", '"messages"'):
        assert _read(tmp_path, heading + '\n"[1, ""a""]"\n\nb\n') == (
            "CSV",
            [{"messages": '[1, "a"]'}, {"messages": "b"}],
            [],
        )
    with pytest.raises(Stop, match="begins with"):
        _read(tmp_path, "Dear all\nthis is a letter\n")


def test_quotes_that_are_not_closed_are_named_where_they_open(tmp_path: Path) -> None:
    lines = ["instruction,output", *(f"Say {number},{number} EUR" for number in range(12))]
    lines[6] = 'Say 5,"5 EUR'
    with pytest.raises(Stop) as stopped:
        _read(tmp_path, "\n".join(lines))
    assert stopped.value.where.endswith(", line 7") and "not closed" in stopped.value.found
    lines[10] = 'Say 9,"9 EUR"'
    with pytest.raises(Stop) as stopped:
        _read(tmp_path, "\n".join(lines))
    assert stopped.value.where.endswith(", line 7") and "in line 11, " in stopped.value.found
