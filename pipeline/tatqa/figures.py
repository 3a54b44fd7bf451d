"""The figures of a context, and the names that the rendering "headings" gives them.

A cell's name is its row's label and its column's heading: `Sales 2019: 3,258`. A figure of a note has the same kind of
name if its sentence names one row of the table and one year: "In 2017, inventories for Spare parts were 38,179." gives
`Spare parts 2017: 38,179`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from pipeline.tatqa.table import Rows, named_cells, row_labels

_FIGURE = re.compile(r"[$£€¥￥]?[(（]?[$£€¥￥]?\s?\d+(?:,\d+)*(?:\.\d+)?[%％]?[)）]?")
_AROUND = re.compile(r"[$£€¥￥%％(),（）\s\-]")
_SENTENCE_END = re.compile(r"(?<=[.;。；])\s+|(?<=[。；])")
_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


def number(cell: str) -> Decimal | None:
    """The digits of a text that is one figure, without sign, currency, separators and percent; else None."""
    bare = _AROUND.sub("", cell)
    return Decimal(bare) if re.fullmatch(r"\d+(?:\.\d+)?|\.\d+", bare) and bare.isascii() else None


def by_digits(cells: Iterable[str], notes: Iterable[str]) -> dict[Decimal, str]:
    """The figures of a context by their digits, verbatim: a cell that is one, else a part of a note."""
    found = [(number(cell), cell.strip()) for cell in cells]
    found += [(number(part), part) for note in notes for part in _in_text(note)]
    return {digits: text for digits, text in reversed(found) if digits is not None}  # the first of equal ones


Names = Mapping[str, Sequence[str]]
"""What is written for a figure or text, with its name: by its digits or else by its text."""


def names(rows: Rows) -> dict[str, list[str]]:
    """The cells of a table with their names."""
    return _by_key(named_cells(rows))


def names_in_notes(rows: Rows, notes: Iterable[str]) -> dict[str, list[str]]:
    """The figures of notes whose sentence names one row of the table and one year, and has no other figure."""
    labels = [label for label in row_labels(rows) if not _YEAR.fullmatch(label)]
    found = []
    for note in notes:
        for sentence in _SENTENCE_END.split(note):
            rows_named = [label for label in labels if _has(sentence, label)]
            years = _YEAR.findall(sentence)
            figures = [figure for figure in _in_text(sentence) if figure not in years]
            if len(rows_named) == len(years) == len(figures) == 1:
                found.append((figures[0], f"{rows_named[0]} {years[0]}: {figures[0]}"))
    return _by_key(found)


def both(cells: Names, notes: Names) -> dict[str, list[str]]:
    """The names of cells and of notes, the cells' first."""
    return {key: [*cells.get(key, ()), *notes.get(key, ())] for key in (*cells, *notes)}


def with_name(item: str, named: Names, question: str) -> str:
    """An item with its name, of equal ones that with most words of the question; without one, the item."""
    asked = set(_WORD.findall(question))
    return max(named.get(_key(item), [item]), key=lambda each: len(asked & set(_WORD.findall(each))))


def without_name(item: str, context: str) -> str:
    """An item without its name: a cell of this name, or a figure in a line of the context that has the name's words.

    A text that the context itself has with a colon, such as a note's "Level 2: 4.1", is not taken apart.
    """
    name, colon, cell = item.rpartition(": ")
    if not colon:
        return item
    if re.search(rf"(?:^|\| ){re.escape(item)}(?= \||$)", context, re.MULTILINE):
        return cell
    if number(cell) is None or item in context:
        return item
    figure = re.compile(rf"(?<![\d.,]){re.escape(cell)}(?!\d|[.,]\d)")
    told = any(figure.search(line) and all(_has(line, word) for word in name.split()) for line in context.splitlines())
    return cell if told else item


def finder(item: str) -> re.Pattern[str] | None:
    """What finds an item in a text, in any case and with any white space, and not within a longer figure; None for
    an empty item."""
    if not (words := item.split()):
        return None
    before = r"(?<!\d)(?<!\d[.,])" if words[0][0].isdigit() else ""
    after = r"(?!\d)(?![.,]\d)" if words[-1][-1].isdigit() else ""
    return re.compile(before + r"\s+".join(map(re.escape, words)) + after, re.IGNORECASE)


_WORD = re.compile(r"\w+")


def _has(text: str, words: str) -> bool:
    """Whether a text has these words, as whole ones where they are of Latin letters or digits."""
    return bool(re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text, re.ASCII))


def _in_text(text: str) -> list[str]:
    return [part.group().strip() for part in _FIGURE.finditer(text)]


def _key(item: str) -> str:
    digits = number(item)
    return item if digits is None else str(digits.normalize())


def _by_key(named: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item, written in named:
        found.setdefault(_key(item), []).append(written)
    return found
