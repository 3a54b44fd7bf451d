"""A context as a person reads it in a terminal: table and notes, with the evidence of an answer marked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

from pipeline import table as tables
from pipeline.tatqa import figures, table
from pipeline.tatqa.schema import Context

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Evidence:
    """What an answer is from."""

    text: str  # verbatim of table or notes
    written: str  # as the model wrote it: with the name of its cell, where the table is written with names


@dataclass(frozen=True)
class Mark:
    """What stands around marked text."""

    begin: str
    end: str

    def around(self, text: str) -> str:
        """The text, marked."""
        return f"{self.begin}{text}{self.end}"


BRACKETS, STYLED, NONE = Mark("[", "]"), Mark("\x1b[1;4m", "\x1b[0m"), Mark("", "")  # STYLED: bold and underlined


def mark_of(stream: TextIO, environment: Mapping[str, str] = os.environ) -> Mark:
    """Bold and underlined in a terminal that can, else brackets; so too where NO_COLOR is set (https://no-color.org).

    NO_COLOR is about colors alone, but a person who sets it wants text without escape sequences.
    """
    can = stream.isatty() and environment.get("TERM", "dumb") not in ("", "dumb") and not environment.get("NO_COLOR")
    return STYLED if can else BRACKETS


def printable(text: str) -> str:
    """A text without control characters but line ends: a file or a model could steer the terminal by them."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def shown(context: Context, evidence: Iterable[Evidence] = (), mark: Mark = NONE) -> tuple[str, list[str], list[str]]:
    """A context's table, its notes, and the evidence that neither of them has; the rest of it is marked.

    Args:
        context: in plain characters, as the model read it.
    """
    cells = [[printable(" ".join(cell.split())) for cell in row] for row in context.rows]
    notes = [printable(text.strip()) for _, text in context.notes]
    in_cells: dict[tuple[int, int], list[tuple[int, int]]] = {}
    in_notes: dict[int, list[tuple[int, int]]] = {}
    lacking = []
    for each in evidence:
        found = _in_table(each, context, cells)
        told = {} if found else {i: spans for i, note in enumerate(notes) if (spans := _spans(each.text, note))}
        for place, spans in found.items():
            in_cells.setdefault(place, []).extend(spans)
        for number, spans in told.items():
            in_notes.setdefault(number, []).extend(spans)
        if not found and not told:
            lacking.append(printable(each.text))
    for (row, column), spans in in_cells.items():
        cells[row][column] = _marked(cells[row][column], spans, mark)
    for number, spans in in_notes.items():
        notes[number] = _marked(notes[number], spans, mark)
    return tables.render(cells), notes, lacking


def _in_table(each: Evidence, context: Context, cells: list[list[str]]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Where a table has an item: the cell of its name, else the cells that are it, else those with it within."""
    named = [place for place, written in table.places(context.rows).items() if written == each.written]
    wanted = " ".join(each.text.split()).casefold()
    everywhere = {(i, j): cell for i, row in enumerate(cells) for j, cell in enumerate(row)}
    whole = named or [place for place, cell in everywhere.items() if cell.casefold() == wanted != ""]
    if whole:
        return {place: [(0, len(everywhere[place]))] for place in whole}
    return {place: spans for place, cell in everywhere.items() if (spans := _spans(each.text, cell))}


def _spans(item: str, text: str) -> list[tuple[int, int]]:
    finder = figures.finder(item)
    return [match.span() for match in finder.finditer(text)] if finder else []


def _marked(text: str, spans: Sequence[tuple[int, int]], mark: Mark) -> str:
    """A text with marks around spans; those that overlap become one."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    for start, stop in reversed(merged):
        text = text[:start] + mark.around(text[start:stop]) + text[stop:]
    return text
