"""A table as text, in one of four renderings. Cells lose only surrounding white space and line breaks."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Sequence

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


RENDERINGS: dict[str, Callable[[Rows], str]] = {
    "pipe": pipe,
    "markdown": markdown,
    "csv": comma_separated,
    "html": hypertext,
}
