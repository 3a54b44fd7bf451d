"""A table as text, in one of five renderings. Cells lose only surrounding white space and line breaks."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Iterator, Sequence

Rows = Sequence[Sequence[str]]


def _cells(rows: Rows) -> list[list[str]]:
    return [[" ".join(cell.split()) for cell in row] for row in rows]


def pipe(rows: Rows) -> str:
    """A line a row, bars between cells: the fewest tokens."""
    return "\n".join(" | ".join(row) for row in _cells(rows))


def markdown(rows: Rows) -> str:
    """As GitHub's tables, the first row as the heading; a bar inside a cell is escaped."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in _cells(rows)]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def comma_separated(rows: Rows) -> str:
    """As RFC 4180, with line feeds: a cell with a comma or a quote is quoted."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(_cells(rows))
    return file.getvalue().rstrip("\n")


def hypertext(rows: Rows) -> str:
    """As the seed project's `<table>`: a line a row, no attributes."""
    lines = [
        "<tr>" + "".join(f"<td>{html.escape(cell, quote=False)}</td>" for cell in row) + "</tr>" for row in _cells(rows)
    ]
    return "\n".join(["<table>", *lines, "</table>"])


def headings(rows: Rows) -> str:
    """A line a row, each cell after its names (`Sales 2019: 3,258 | Sales 2018: 3,321`); no empty cells.

    The first line is what no cell's name has: what stands over the labels, and headings of columns without cells.
    """
    over, below = _heading(_cells(rows))
    alone = [heading for heading, *column in zip(over, *below, strict=True) if heading and not any(column)]
    first = [over[0], *(each for each in alone if each != over[0])] if over[0] else alone
    lines = [" | ".join(first)] if first else []
    for row in below:
        lines.append(" | ".join(written for _, _, written in _named(over, row)) or row[0])
    return "\n".join(lines)


def named_cells(rows: Rows) -> Iterator[tuple[str, str]]:
    """Each cell that `headings` writes, alone and as it writes it: `3,258`, `Sales 2019: 3,258`."""
    over, below = _heading(_cells(rows))
    for row in below:
        yield from ((cell, written) for _, cell, written in _named(over, row))


def places(rows: Rows) -> dict[tuple[int, int], str]:
    """What `headings` writes for each cell, by its row and column from 0."""
    over, below = _heading(_cells(rows))
    first = len(rows) - len(below)
    return {(i, column): written for i, row in enumerate(below, first) for column, _, written in _named(over, row)}


def row_labels(rows: Rows) -> list[str]:
    """The labels of the rows below the headings, each once."""
    _, below = _heading(_cells(rows))
    return list(dict.fromkeys(row[0] for row in below if row[0]))


def _named(over: list[str], row: list[str]) -> Iterator[tuple[int, str, str]]:
    """Column, text and text with name of each cell that is not empty."""
    label, *cells = row
    for column, (heading, cell) in enumerate(zip(over[1:], cells, strict=True), 1):
        if cell:
            name = " ".join(filter(None, (label, heading)))
            yield column, cell, f"{name}: {cell}" if name else cell


def _heading(cells: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The headings of the columns, from the rows above the first one with a label and cells; and the other rows."""
    end = next((number for number, row in enumerate(cells) if any(row[1:])), 0) + 1
    while end < len(cells) and not cells[end][0]:
        end += 1
    return [" ".join(filter(None, column)) for column in zip(*cells[:end], strict=True)], cells[end:]


RENDERINGS: dict[str, Callable[[Rows], str]] = {
    "pipe": pipe,
    "markdown": markdown,
    "csv": comma_separated,
    "html": hypertext,
    "headings": headings,
}
