"""The rows of a user's file as objects, whatever holds them: JSON, JSON lines, CSV, Parquet, a data set's folder.

What a file is, is told from its content; its name is not looked at.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import json_stream
from pipeline.data.readers import delimited, encoding, labels
from pipeline.data.readers.encoding import Encoding
from pipeline.data.readers.reading import Fault
from pipeline.errors import Stop, one_line
from pipeline.json_stream import LARGEST, Placed


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
        lines = start[:1] == "{" and _are_lines(start if "\n" in start else start + file.readline(LARGEST))
    if not start:
        raise Stop("at least two contexts or rows that differ", "an empty file", str(path), "add some")
    if start[0] == "[":
        kind, rows = "JSON", _json_list(path, found)
    elif start[0] == "{":
        kind, rows = ("JSON lines", _json_lines(path, found, fault)) if lines else ("JSON", _json_objects(path, found))
    elif dialect := delimited.dialect(path, found, start):
        kind, rows = dialect.shown, delimited.rows(path, found, dialect, fault)
    else:
        wanted = "JSON, JSON lines, CSV with a line of column names, or Parquet"
        raise Stop(wanted, f"a file that begins with {start[:20]!r}", str(path), "check data.source")
    return ", ".join(part for part in (kind, found.shown) if part), rows


def _starts_with(path: Path, magic: bytes) -> bool:
    with encoding.open_bytes(path, zipped=False) as file:
        return file.read(len(magic)) == magic


def _are_lines(start: str) -> bool:
    """Whether a text that begins with an object is JSON lines: its first line is, or is broken and a later is."""
    first, *others = start.split("\n")
    if json_stream.is_json(first):
        return True
    end = json_stream.end_of_value(start)
    if end > len(first) or (end and first[end:].lstrip().startswith("{")):  # over several lines, or several in one
        return False
    return any(each.startswith("{") and json_stream.is_json(each) for each in others)


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
                    value = json_stream.parse(line.rstrip("\r\n"))
                except json.JSONDecodeError as error:
                    said = f"{error.msg}, column {error.colno}"
                    fault(Stop("one JSON object a line", said, where, "fix that line"))
                    continue
                except ValueError as error:
                    fault(Stop("one JSON object a line", str(error)[:200], where, "fix that line"))
                    continue
                yield where, value


def _parquet(path: Path) -> Iterator[Placed]:
    import pyarrow.parquet

    number = 0
    try:
        with path.open("rb") as file:
            parquet = pyarrow.parquet.ParquetFile(file)
            features = labels.of_parquet(parquet.schema_arrow)
            for batch in parquet.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    row |= {name: labels.named(row[name], features[name]) for name in features.keys() & row.keys()}
                    yield f"{path}, row {number}", without_nothing(row)
                    number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise Stop("a Parquet file", one_line(error), str(path), "fetch or write the file again") from None


def without_nothing(value: Any) -> Any:
    """A row without the nulls that a table with fixed columns has where a row has nothing."""
    if isinstance(value, dict):
        return {key: without_nothing(each) for key, each in value.items() if each is not None}
    return [without_nothing(each) for each in value] if isinstance(value, list) else value
