"""CSV as people have it: any delimiter, a space before the quotes, Excel's `sep=;`, pandas' unnamed index column.

    instruction, output
    "Say 1", "1 EUR"

The whole file is scanned for its dialect before its rows are read, so that one late row does not change its meaning.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.readers import encoding
from pipeline.data.readers.encoding import Encoding
from pipeline.data.readers.reading import Fault
from pipeline.errors import Stop
from pipeline.json_stream import LARGEST, Placed

_DELIMITERS = ",\t;|"
_SEP = re.compile(r'"?sep=([^"\r\n])"?\r?\n', re.IGNORECASE)  # Excel's line before the column names
_ONE_COLUMN = re.compile(r'("?)[^\W\d]\w*\1\s*\r?\n\s*\S')  # a name on a line of its own, and something below it


@dataclass(frozen=True)
class Dialect:
    """How the cells of a file are parted; `index` says that its first column is unnamed, as pandas' index is."""

    delimiter: str
    spaced: bool = False  # a space after each delimiter is no part of the cell
    sep_line: bool = False
    index: bool = False

    @property
    def shown(self) -> str:
        """In words."""
        return "CSV, its unnamed column of row numbers left out" if self.index else "CSV"


def dialect(path: Path, found: Encoding, start: str) -> Dialect | None:
    """The dialect of a file of that encoding that begins with `start`; None if that is no CSV with column names.

    Raises:
        Stop: as `encoding.open_text`.
    """
    sep = _SEP.match(start)
    delimiter = sep.group(1) if sep else _delimiter(start)
    if not delimiter:
        return Dialect(",") if _ONE_COLUMN.match(start) else None
    plain = Dialect(delimiter, sep_line=bool(sep))
    spaced = _is_spaced(path, found, plain)
    _, _, heading = next(_rows(path, found, Dialect(delimiter, spaced, bool(sep)), strict=False), (0, "", [""]))
    index = not heading[0].strip() and len(heading) > 1 and all(name.strip() for name in heading[1:])
    return Dialect(delimiter, spaced, bool(sep), index)


def _delimiter(start: str) -> str:
    """The likeliest delimiter by the line of column names, or "" if that is no such line."""
    heading = start.splitlines()[0]
    counted = {each: heading.count(each) for each in _DELIMITERS}
    likeliest = max(counted, key=lambda each: counted[each])
    return likeliest if counted[likeliest] and not heading.startswith(("<", "#", "%PDF")) else ""


def _is_spaced(path: Path, found: Encoding, plain: Dialect) -> bool:
    """Whether quotes come after a space wherever they come after a delimiter, and do so at least once.

    RFC 4180 has no such quotes: the standard reader would take them, and delimiters between them, for the cell's text.
    """
    spaced = False
    try:
        for _, text, row in _rows(path, found, plain, strict=False):
            for cell in row[1:] if '"' in text else ():
                if _stands_after_space(cell, text, plain):
                    spaced = True
                elif f'{plain.delimiter}"{cell.replace(chr(34), chr(34) * 2)}"' in text:
                    return False
    except Stop:
        pass  # which the reading of the rows will raise
    return spaced


def _stands_after_space(cell: str, text: str, dialect: Dialect) -> bool:
    """Whether a cell of a row, whose text in the file is given, has quotes after a space and none before it."""
    return cell.startswith(" ") and cell.lstrip(" ").startswith('"') and dialect.delimiter + cell in text


def rows(path: Path, found: Encoding, dialect: Dialect, fault: Fault) -> Iterator[Placed]:
    """The rows as objects with their places; single rows that cannot be read go to `fault`.

    Raises:
        Stop: no line of column names, or no CSV.
    """
    numbered = _rows(path, found, dialect)
    first, _, cells = next(numbered, (1, "", [""]))
    heading = [name.strip() for name in cells[dialect.index :]]
    if len(set(heading)) < len(heading) or not all(heading):
        todo = "name every column, each once"
        raise Stop("a line of column names", ", ".join(map(repr, heading))[:200], f"{path}, line {first}", todo)
    before = -1
    for line, text, row in numbered:
        where = f"{path}, line {line}"
        if len(row) != len(cells):
            fault(_ragged(where, row, first, cells))
            continue
        if odd := [cell for cell in row[1:] if _stands_after_space(cell, text, dialect)]:
            todo = "remove the space before these quotes"
            fault(Stop("quotes right after the delimiter, as in other rows", repr(odd[0])[:60], where, todo))
            continue
        if dialect.index:
            before = _next_index(row[0], before, where)
        named = zip(heading, row[dialect.index :], strict=True)
        yield where, {name: cell for name, cell in named if cell}


def _next_index(cell: str, before: int, where: str) -> int:
    """The number in a column without a name, which must be higher than that of the row before.

    Raises:
        Stop: it is none, so that the column may be one of data.
    """
    number = int(cell) if cell.isascii() and cell.isdigit() and len(cell) < 20 else -1
    if number <= before:
        wanted, todo = "a name for the first column, or row numbers in it", "name it, or write to_csv(index=False)"
        raise Stop(wanted, repr(cell)[:60], where, todo)
    return number


def _rows(path: Path, found: Encoding, dialect: Dialect, strict: bool = True) -> Iterator[tuple[int, str, list[str]]]:
    """The rows that hold something, each with the number of its last line and its text in the file.

    Raises:
        Stop: no CSV; names the line where the row begins.
    """
    csv.field_size_limit(LARGEST)
    with encoding.open_text(path, found) as file:
        skipped = 0
        if dialect.sep_line:
            skipped = next(number for number, line in enumerate(file, 1) if _SEP.match(line))
        text: list[str] = []
        before = skipped
        rows = csv.reader(
            _kept(file, text), delimiter=dialect.delimiter, strict=strict, skipinitialspace=dialect.spaced
        )
        try:
            for row in rows:
                before = rows.line_num + skipped
                if any(cell.strip() for cell in row):
                    yield before, "".join(text), row
                text.clear()
        except csv.Error as error:
            last, where = rows.line_num + skipped, f"{path}, line {before + 1}"
            if "unexpected end" in str(error):
                raise Stop("CSV", "quotes that are opened and not closed", where, "close them") from None
            said = str(error) if last == before + 1 else f"quotes that are opened; in line {last}, {error}"
            raise Stop("CSV", said, where, "fix that line") from None


def _kept(lines: Iterable[str], text: list[str]) -> Iterator[str]:
    """The lines, each added to `text` as it is read."""
    for line in lines:
        text.append(line)
        yield line


def _ragged(where: str, row: list[str], first: int, heading: list[str]) -> Stop:
    wanted, todo = f"{len(heading)} cells, as in line {first}", "quote cells with commas"
    return Stop(wanted, f"{len(row)}", where, todo)


def table(path: Path) -> list[list[str]]:
    """A CSV file as a table: all its rows but the empty ones.

    Raises:
        Stop: as `rows`, or a row has more or fewer cells than the first.
    """
    found = encoding.detect(path)
    with encoding.open_text(path, found) as file:
        start = file.read(1 << 16).lstrip()
    read: list[list[str]] = []
    first = 0
    for line, _, row in _rows(path, found, (start and dialect(path, found, start)) or Dialect(",")):
        first = first or line
        if read and len(row) != len(read[0]):
            raise _ragged(f"{path}, line {line}", row, first, read[0])
        read.append(row)
    return read
