"""Typed, validated loading of raw TAT-QA (Zhu et al., ACL 2021; repository NExTplusplus/TAT-QA at 870accc4, CC BY 4.0).

A raw file is a JSON list of contexts:

    {"table": {"uid", "table": [["", "2019", "2018"], ["Other", "44.1", "56.7"]]},
     "paragraphs": [{"uid", "order": 1, "text"}],
     "questions": [{"uid", "order", "question", "answer": -12.6, "derivation": "44.1-56.7", "answer_type": "arithmetic",
                    "answer_from": "table-text", "rel_paragraphs": ["2"], "req_comparison": false, "scale": "million"}]}

The answer is a list of one string (span), a list of strings (multi-span), a number (arithmetic) or digits in a string
(count).
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import json_stream
from pipeline.errors import Stop

SCALES = ("", "thousand", "million", "billion", "percent")
ANSWER_TYPES = ("span", "multi-span", "arithmetic", "count")
UNKNOWN_SOURCE = "unknown"  # of a user's file that does not say where an answer is from
ANSWER_SOURCES = ("table", "text", "table-text", UNKNOWN_SOURCE)

Answer = list[str] | int | float | str


@dataclass(frozen=True)
class Question:
    """One question; `answer` is typed by `answer_type` as the module's docstring says."""

    uid: str
    text: str
    answer: Answer
    answer_type: str
    answer_from: str
    scale: str
    derivation: str
    notes: tuple[str, ...]  # orders of the paragraphs it needs, as strings
    order: int = 0
    comparison: bool = False  # whether figures must be compared; test_gold does not say
    facts: tuple[str, ...] = ()  # test_gold only, as all below: the operands, verbatim from the context
    constants: tuple[str, ...] = ()  # operands that are not in the context, such as the 100 of percents
    mappings: tuple[
        tuple[str, int, int], ...
    ] = ()  # of each fact: ("table", row, column) or ("paragraph_ORDER", first character, end)
    tree: tuple[str, ...] = ()  # the derivation, operators first


@dataclass(frozen=True)
class Context:
    """One table with its notes and questions. `rows` is rectangular: every row has as many cells as the first."""

    uid: str
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[tuple[int, str], ...]  # (order, text), by order
    questions: tuple[Question, ...]


def read(path: Path) -> Iterator[Context]:
    """The contexts of a raw file, one at a time and each checked; the caller checks that uids differ.

    Raises:
        Stop: the file is missing or no JSON list, or a value is not what the schema says; names context, question and
        field.
    """
    for number, item in enumerate(json_stream.elements(path)):
        yield _context(_Place(f"{path}, context {number}"), item)


def load(path: Path) -> list[Context]:
    """Every context of a raw file.

    Raises:
        Stop: as `read`, or a duplicate uid.
    """
    return _distinct(list(read(path)), str(path))


def parse(items: list[Any], where: str) -> list[Context]:
    """Check and type raw contexts; `where` names their file in errors.

    Raises:
        Stop: as `load`.
    """
    return _distinct([_context(_Place(f"{where}, context {number}"), item) for number, item in enumerate(items)], where)


def _distinct(contexts: list[Context], where: str) -> list[Context]:
    seen: dict[str, int] = {}
    for number, context in enumerate(contexts):
        for uid in (context.uid, *(question.uid for question in context.questions)):
            if uid in seen:
                raise uid_twice(uid, where, seen[uid], number)
            seen[uid] = number
    return contexts


def check(item: object, where: str) -> Context:
    """One raw context, at `where`.

    Raises:
        Stop: as `read`.
    """
    return _context(_Place(where), item)


def uid_twice(uid: str, where: str, first: int, second: int) -> Stop:
    """The error for a uid that two contexts, given by number, share."""
    place = f"{where}, contexts {first} and {second}" if first != second else f"{where}, context {first}"
    return Stop(
        "a uid of its own for every context and question", f"{uid[:60]!r} twice", place, "drop or rename one of the two"
    )


class _Place:
    """The place of a value in the file; reads typed fields and says what is wrong with them."""

    def __init__(self, name: str) -> None:
        self.name = name

    def stop(self, wanted: str, found: str, field: str) -> Stop:
        return Stop(
            wanted, found, f"{self.name}, field {field!r}", "fix the file; the schema is in pipeline/tatqa/schema.py"
        )

    def mapping(self, value: object, field: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.stop("an object", _kind(value), field)
        return value

    def get(self, holder: dict[str, Any], field: str, kind: type, wanted: str) -> Any:
        if field not in holder:
            raise self.stop(wanted, "nothing", field)
        value = holder[field]
        if isinstance(value, str):
            self.text(value, field)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.stop(wanted, _kind(value), field)
        return value

    def choice(self, holder: dict[str, Any], field: str, choices: tuple[str, ...]) -> str:
        value = self.get(holder, field, str, "one of " + ", ".join(map(repr, choices)))
        if value not in choices:
            raise self.stop("one of " + ", ".join(map(repr, choices)), _shown(value), field)
        return str(value)

    def strings(self, value: object, field: str, wanted: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.stop(wanted, _kind(value), field)
        for item in value:
            self.text(item, field)
        return tuple(value)

    def text(self, value: str, field: str) -> None:
        """A lone surrogate, which JSON can write and UTF-8 cannot."""
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise self.stop("text that UTF-8 can write", "half a surrogate pair", field)


def _context(place: _Place, item: object) -> Context:
    holder = place.mapping(item, "context")
    table = place.mapping(place.get(holder, "table", dict, "an object with uid and table"), "table")
    rows = tuple(
        place.strings(row, f"table.table[{i}]", "a list of strings")
        for i, row in enumerate(place.get(table, "table", list, "a list of rows"))
    )
    if not rows or not rows[0]:
        raise place.stop("a table with at least one cell", "an empty one", "table.table")
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise place.stop(f"{len(rows[0])} cells, as in the first row", f"{len(row)} cells", f"table.table[{i}]")
    notes = []
    for i, paragraph in enumerate(place.get(holder, "paragraphs", list, "a list of paragraphs")):
        note = place.mapping(paragraph, f"paragraphs[{i}]")
        notes.append((place.get(note, "order", int, "a whole number"), place.get(note, "text", str, "a string")))
    questions = place.get(holder, "questions", list, "a list of questions")
    return Context(
        uid=place.get(table, "uid", str, "a string"),
        rows=rows,
        notes=tuple(sorted(notes)),
        questions=tuple(_question(place.name, i, each) for i, each in enumerate(questions)),
    )


def _question(context: str, number: int, item: object) -> Question:
    place = _Place(f"{context}, question {number}")
    holder = place.mapping(item, "question")
    answer_type = place.choice(holder, "answer_type", ANSWER_TYPES)
    return Question(
        uid=place.get(holder, "uid", str, "a string"),
        text=place.get(holder, "question", str, "a string"),
        answer=_answer(place, answer_type, holder.get("answer")),
        answer_type=answer_type,
        answer_from=place.choice(holder, "answer_from", ANSWER_SOURCES),
        scale=place.choice(holder, "scale", SCALES),
        derivation=place.get(holder, "derivation", str, "a string"),
        notes=place.strings(
            holder.get("rel_paragraphs", []), "rel_paragraphs", "a list of paragraph orders, as strings"
        ),
        order=place.get(holder, "order", int, "a whole number") if "order" in holder else number + 1,
        comparison=place.get(holder, "req_comparison", bool, "true or false") if "req_comparison" in holder else False,
        facts=place.strings(holder.get("facts", []), "facts", "a list of strings"),
        constants=place.strings(holder.get("consts", []), "consts", "a list of strings"),
        mappings=_mappings(place, holder.get("mappings", [])),
        tree=place.strings(holder.get("tree_derivation", []), "tree_derivation", "a list of strings"),
    )


def _mappings(place: _Place, value: object) -> tuple[tuple[str, int, int], ...]:
    wanted = 'a list of {"table": [row, column]} or {"paragraph_ORDER": [first character, end]}'
    if not isinstance(value, list):
        raise place.stop(wanted, _kind(value), "mappings")
    found = []
    for item in value:
        for holder, pair in item.items() if isinstance(item, dict) else [("", None)]:
            if not (
                isinstance(pair, list)
                and len(pair) == 2
                and all(isinstance(each, int) and not isinstance(each, bool) for each in pair)
            ):
                raise place.stop(wanted, _kind(item), "mappings")
            place.text(holder, "mappings")
            found.append((holder, pair[0], pair[1]))
    return tuple(found)


def _answer(place: _Place, answer_type: str, value: object) -> Answer:
    if answer_type == "arithmetic":
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            raise place.stop("a finite number (answer_type is arithmetic)", _kind(value), "answer")
        return value
    if answer_type == "count":
        if isinstance(value, str) and value.isascii() and value.isdigit():
            return value
        raise place.stop('digits in a string, such as "4" (answer_type is count)', _kind(value), "answer")
    spans = place.strings(value, "answer", f"a list of strings (answer_type is {answer_type})")
    if not spans or (answer_type == "span" and len(spans) != 1):
        raise place.stop(
            "one string in a list" if answer_type == "span" else "at least one string",
            f"{len(spans)} strings",
            "answer",
        )
    return list(spans)


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        type(None): "null",
    }
    return f"{names.get(type(value), type(value).__name__)}: {_shown(value)}"


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxlong = 60


def _shown(value: object) -> str:
    """As repr, but neither long nor deep."""
    return _REPR.repr(value)
