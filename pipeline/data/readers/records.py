"""The rows of a user's file as objects, whatever holds them: JSON, JSON lines, CSV, Parquet, a data set's folder.

What a file is, is told from its content; its name is not looked at.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline import json_stream
from pipeline.data.readers import encoding
from pipeline.data.readers.encoding import Encoding
from pipeline.errors import Stop, one_line
from pipeline.json_stream import LARGEST, Placed

Fault = Callable[[Stop], None]  # is given the rows that cannot be read

_DELIMITERS = ",\t;|"


def read(path: Path, fault: Fault) -> tuple[str, Iterator[Placed]]:
    """What a file is, in words, and its rows with their places, as a stream.

    Raises:
        Stop: it cannot be read, is empty, or is of no kind that is known. Single rows go to `fault`.
    """
    if _starts_with(path, b"PAR1"):
        return "Parquet", _parquet(path)
    if _starts_with(path, b"PK\x03\x04"):
        raise Stop("a file of questions", "a ZIP archive", str(path), "unpack it, and pass a file of it")
    found = encoding.detect(path)
    with encoding.open_text(path, found) as file:
        start = file.read(1 << 16).lstrip()
    if not start:
        raise Stop("at least two contexts or rows that differ", "an empty file", str(path), "add some")
    if start[0] == "[":
        kind, rows = "JSON", _json_list(path, found)
    elif start[0] == "{":
        lines = json_stream.is_json(start.partition("\n")[0])
        kind, rows = ("JSON lines", _json_lines(path, found, fault)) if lines else ("JSON", _json_objects(path, found))
    elif delimiter := _delimiter(start):
        kind, rows = "CSV", _csv(path, found, delimiter, fault)
    else:
        wanted = "JSON, JSON lines, CSV with a line of column names, or Parquet"
        raise Stop(wanted, f"a file that begins with {start[:20]!r}", str(path), "check data.source")
    return ", ".join(part for part in (kind, found.shown) if part), rows


def _starts_with(path: Path, magic: bytes) -> bool:
    with encoding.open_bytes(path, zipped=False) as file:
        return file.read(len(magic)) == magic


def _json_list(path: Path, found: Encoding) -> Iterator[Placed]:
    with encoding.open_text(path, found) as file:
        yield from json_stream.listed(file, path)


def _json_objects(path: Path, found: Encoding) -> Iterator[Placed]:
    with encoding.open_text(path, found) as file:
        yield from json_stream.objects(file, path)


def _json_lines(path: Path, found: Encoding, fault: Fault) -> Iterator[Placed]:
    """Line by line, so that each broken one is a fault of its own."""
    with encoding.open_text(path, found) as file:
        for number in itertools.count(1):
            line = file.readline(LARGEST)
            if not line:
                return
            where = f"{path}, line {number}"
            if len(line) == LARGEST:
                raise Stop("JSON lines", f"a line longer than {LARGEST:,} characters", where, "fix the file")
            if line.strip():
                try:
                    value = json_stream.parse(line)
                except ValueError as error:
                    fault(Stop("one JSON object a line", str(error)[:200], where, "fix that line"))
                    continue
                yield where, value


def _delimiter(start: str) -> str:
    """The delimiter of a CSV file by its line of column names, or "" if that is no such line."""
    heading = start.splitlines()[0]
    counted = {each: heading.count(each) for each in _DELIMITERS}
    likeliest = max(counted, key=lambda each: counted[each])
    return likeliest if counted[likeliest] and not heading.startswith(("<", "#", "%PDF")) else ""


def _csv(path: Path, found: Encoding, delimiter: str, fault: Fault) -> Iterator[Placed]:
    rows = _csv_rows(path, found, delimiter)
    first, cells = next(rows, (1, [""]))
    heading = [name.strip() for name in cells]
    if len(set(heading)) < len(heading) or not all(heading):
        todo = "name every column, each once"
        raise Stop("a line of column names", ", ".join(map(repr, heading))[:200], f"{path}, line {first}", todo)
    for line, row in rows:
        if len(row) != len(heading):
            fault(_ragged(path, line, row, first, heading))
        else:
            yield f"{path}, line {line}", {name: cell for name, cell in zip(heading, row, strict=True) if cell}


def _csv_rows(path: Path, found: Encoding, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold something, each with the number of its last line."""
    csv.field_size_limit(LARGEST)
    with encoding.open_text(path, found) as file:
        rows = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            for row in rows:
                if any(cell.strip() for cell in row):
                    yield rows.line_num, row
        except csv.Error as error:
            raise Stop("CSV", str(error), f"{path}, line {rows.line_num}", "fix that line") from None


def _ragged(path: Path, line: int, row: list[str], first: int, heading: list[str]) -> Stop:
    wanted, todo = f"{len(heading)} cells, as in line {first}", "quote cells with commas"
    return Stop(wanted, f"{len(row)}", f"{path}, line {line}", todo)


def csv_table(path: Path) -> list[list[str]]:
    """A CSV file as a table: all its rows but the empty ones.

    Raises:
        Stop: as `read`, or a row has more or fewer cells than the first.
    """
    found = encoding.detect(path)
    with encoding.open_text(path, found) as file:
        delimiter = _delimiter(file.read(1 << 16).lstrip()) or ","
    table: list[list[str]] = []
    first = 0
    for line, row in _csv_rows(path, found, delimiter):
        first = first or line
        if table and len(row) != len(table[0]):
            raise _ragged(path, line, row, first, table[0])
        table.append(row)
    return table


def _parquet(path: Path) -> Iterator[Placed]:
    import pyarrow.parquet

    number = 0
    try:
        with path.open("rb") as file:
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    yield f"{path}, row {number}", without_nothing(row)
                    number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise Stop("a Parquet file", one_line(error), str(path), "fetch or write the file again") from None


def without_nothing(value: Any) -> Any:
    """A row without the nulls that a table with fixed columns has where a row has nothing."""
    if isinstance(value, dict):
        return {key: without_nothing(each) for key, each in value.items() if each is not None}
    return [without_nothing(each) for each in value] if isinstance(value, list) else value
