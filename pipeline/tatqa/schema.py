"""Typed, validated loading of raw TAT-QA (Zhu et al., ACL 2021; repository NExTplusplus/TAT-QA at 870accc4, CC BY 4.0).

A raw file is a JSON list of contexts:

    {"table": {"uid", "table": [["", "2019", "2018"], ["Other", "44.1", "56.7"]]},
     "paragraphs": [{"uid", "order": 1, "text"}],
     "questions": [{"uid", "order", "question", "answer": -12.6, "derivation": "44.1-56.7", "answer_type": "arithmetic",
                    "answer_from": "table-text", "rel_paragraphs": ["2"], "req_comparison": false, "scale": "million"}]}

The answer is a list of one string (span), a list of strings (multi-span), a number (arithmetic) or digits in a string (count).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import Stop

SCALES = ("", "thousand", "million", "billion", "percent")
ANSWER_TYPES = ("span", "multi-span", "arithmetic", "count")
ANSWER_SOURCES = ("table", "text", "table-text")

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


@dataclass(frozen=True)
class Context:
    """One table with its notes and questions. `rows` is rectangular: every row has as many cells as the first."""

    uid: str
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[tuple[int, str], ...]  # (order, text), by order
    questions: tuple[Question, ...]


def load(path: Path) -> list[Context]:
    """Every context of a raw file, checked.

    Raises:
        Stop: the file is missing or no JSON list, or a value is not what the schema says; names context, question and field.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Stop("a raw TAT-QA file", "no such file", str(path), "invoke fetch") from None
    except (ValueError, RecursionError) as error:
        raise Stop("JSON in UTF-8", str(error), str(path), "invoke fetch, or mend the file") from None
    if not isinstance(raw, list):
        raise Stop("a JSON list of contexts", _kind(raw), str(path), "pass a file in TAT-QA's raw schema")
    return parse(raw, str(path))


def parse(raw: list[Any], where: str) -> list[Context]:
    """Check and type raw contexts; `where` names their file in errors.

    Raises:
        Stop: as `load`.
    """
    contexts: list[Context] = []
    seen: dict[str, str] = {}
    for number, item in enumerate(raw):
        context = _context(_Place(f"{where}, context {number}"), item)
        for uid in (context.uid, *(question.uid for question in context.questions)):
            if uid in seen:
                raise Stop("a uid of its own for every context and question", f"{uid!r} twice", f"{where}, contexts {seen[uid]} and {number}",
                           "drop or rename one of the two")  # fmt: skip
            seen[uid] = str(number)
        contexts.append(context)
    return contexts


class _Place:
    """Where in the file a value stands; reads typed fields and says what was wrong there."""

    def __init__(self, name: str) -> None:
        self.name = name

    def stop(self, wanted: str, found: object, field: str) -> Stop:
        shown = found if isinstance(found, str) else _kind(found)
        return Stop(wanted, shown, f"{self.name}, field {field!r}", "mend the file; the schema is in pipeline/tatqa/schema.py")

    def mapping(self, value: object, field: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.stop("an object", value, field)
        return value

    def get(self, holder: dict[str, Any], field: str, kind: type, wanted: str) -> Any:
        if field not in holder:
            raise self.stop(wanted, "nothing", field)
        value = holder[field]
        if isinstance(value, str):
            self.text(value, field)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.stop(wanted, value, field)
        return value

    def choice(self, holder: dict[str, Any], field: str, choices: tuple[str, ...]) -> str:
        value = self.get(holder, field, str, "one of " + ", ".join(map(repr, choices)))
        if value not in choices:
            raise self.stop("one of " + ", ".join(map(repr, choices)), repr(value), field)
        return str(value)

    def strings(self, value: object, field: str, wanted: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.stop(wanted, value, field)
        for item in value:
            self.text(item, field)
        return tuple(value)

    def text(self, value: str, field: str) -> None:
        """A lone surrogate, which JSON can write and UTF-8 cannot."""
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise self.stop("text that UTF-8 can write", "half a surrogate pair", field)


def _context(place: _Place, raw: object) -> Context:
    holder = place.mapping(raw, "context")
    table = place.mapping(place.get(holder, "table", dict, "an object with uid and table"), "table")
    rows = tuple(
        place.strings(row, f"table.table[{i}]", "a list of strings") for i, row in enumerate(place.get(table, "table", list, "a list of rows"))
    )
    if not rows or not rows[0]:
        raise place.stop("a table with at least one cell", "an empty one", "table.table")
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise place.stop(f"{len(rows[0])} cells, as in the first row", f"{len(row)} cells", f"table.table[{i}]")
    notes = []
    for i, item in enumerate(place.get(holder, "paragraphs", list, "a list of paragraphs")):
        note = place.mapping(item, f"paragraphs[{i}]")
        notes.append((place.get(note, "order", int, "a whole number"), place.get(note, "text", str, "a string")))
    questions = place.get(holder, "questions", list, "a list of questions")
    return Context(
        uid=place.get(table, "uid", str, "a string"),
        rows=rows,
        notes=tuple(sorted(notes)),
        questions=tuple(_question(place.name, i, item) for i, item in enumerate(questions)),
    )


def _question(context: str, number: int, raw: object) -> Question:
    place = _Place(f"{context}, question {number}")
    holder = place.mapping(raw, "question")
    answer_type = place.choice(holder, "answer_type", ANSWER_TYPES)
    return Question(
        uid=place.get(holder, "uid", str, "a string"),
        text=place.get(holder, "question", str, "a string"),
        answer=_answer(place, answer_type, holder.get("answer")),
        answer_type=answer_type,
        answer_from=place.choice(holder, "answer_from", ANSWER_SOURCES),
        scale=place.choice(holder, "scale", SCALES),
        derivation=place.get(holder, "derivation", str, "a string"),
        notes=place.strings(holder.get("rel_paragraphs", []), "rel_paragraphs", "a list of paragraph orders, as strings"),
    )


def _answer(place: _Place, answer_type: str, value: object) -> Answer:
    if answer_type == "arithmetic":
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise place.stop("a finite number (answer_type is arithmetic)", value, "answer")
        return value
    if answer_type == "count":
        if isinstance(value, str) and value.isascii() and value.isdigit():
            return value
        raise place.stop('digits in a string, such as "4" (answer_type is count)', value, "answer")
    spans = place.strings(value, "answer", f"a list of strings (answer_type is {answer_type})")
    if not spans or (answer_type == "span" and len(spans) != 1):
        raise place.stop("one string in a list" if answer_type == "span" else "at least one string", f"{len(spans)} strings", "answer")
    return list(spans)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", int: "a whole number", float: "a number", type(None): "null"}
    shown = repr(value)
    return f"{names.get(type(value), type(value).__name__)}: {shown if len(shown) <= 60 else shown[:57] + '...'}"
