"""Contexts in TAT-QA's raw schema (pipeline/tatqa/schema.py), also with parts absent, and TAT-HQA's.

    {"table": [["", "2019"], ["Sales", "1,200"]], "question": "What were sales?", "answer": ["1,200"]}

Absent: `uid`s are made up from the content; `answer_type` is told from the answer; `answer_from`, `derivation` and
`scale` are "". A context may have one question outside a list. TAT-HQA's answer type `counterfactual` is the type that
its answer has (Li et al., ACL 2022, "Learning to Imagine").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.data.readers.reading import NoAnswer, Reading
from pipeline.errors import Stop
from pipeline.tatqa import schema

FORM = "TAT-QA: table, paragraphs, questions with question and answer"

_QUESTION = {
    "uid",
    "order",
    "question",
    "answer",
    "derivation",
    "answer_type",
    "answer_from",
    "rel_paragraphs",
    "req_comparison",
    "scale",
    "facts",
    "consts",
    "mappings",
    "tree_derivation",
}

RawContext = dict[str, Any]


def read(record: Mapping[str, Any], where: str, reading: Reading) -> RawContext:
    """A context of the strict schema.

    Raises:
        Stop: it has no table or no question, or as `schema.check`.
        NoAnswer: a question has no answer.
    """
    single = "question" in record and "questions" not in record
    reading.see_keys(record, {"table", "paragraphs", "questions", "uid", *(_QUESTION if single else ())})
    made = _table_and_notes(record, where)
    uid = made["table"]["uid"]
    if single:
        questions: Any = [{key: record[key] for key in _QUESTION & record.keys() - {"uid"}}]
    else:
        questions = record.get("questions")
    if not isinstance(questions, list):
        raise Stop("a list of questions", repr(questions)[:60], f"{where}, field 'questions'", "fix that row")
    made["questions"] = [
        _question(each, number, f"{where}, question {number}", reading) for number, each in enumerate(questions)
    ]
    for number, each in enumerate(made["questions"]):
        each.setdefault("uid", hashlib.sha256(f"{where} {uid} {number}".encode()).hexdigest()[:32])
    schema.check(made, where)
    return made


def unanswered(record: Mapping[str, Any], where: str) -> RawContext:
    """A context to ask about, of the strict schema: of its questions, those that have an answer.

    Raises:
        Stop: as `read`.
    """
    made = _table_and_notes(record, where)
    questions = record.get("questions") or []
    if not isinstance(questions, list):
        raise Stop("a list of questions", repr(questions)[:60], f"{where}, field 'questions'", "fix that row")
    answered = [each for each in questions if isinstance(each, dict) and each.get("answer") not in (None, "", [])]
    return read({**record, **made, "questions": answered}, where, Reading())


def _table_and_notes(record: Mapping[str, Any], where: str) -> RawContext:
    given = record.get("table")
    table = given if isinstance(given, dict) else {"table": given}
    listed = table.get("table")
    if not isinstance(listed, list):
        raise Stop("a table: a list of rows", repr(given)[:60], f"{where}, field 'table'", "fix that row")
    rows = [[cell_text(cell) for cell in row] if isinstance(row, list) else row for row in listed]
    notes = paragraphs(record.get("paragraphs"))
    return {"table": {"uid": table.get("uid") or content_uid(rows, notes), "table": rows}, "paragraphs": notes}


def content_uid(rows: object, notes: object) -> str:
    """A uid of a table and its notes: equal for equal ones."""
    return hashlib.sha256(json.dumps([rows, notes], sort_keys=True).encode()).hexdigest()[:32]


def paragraphs(given: object) -> Any:
    """Paragraphs with an order: those of a list of texts or of objects without one are numbered."""
    if given is None:
        return []
    if not isinstance(given, list):
        return given  # the schema's check says what is wrong with it
    made = []
    for number, each in enumerate(given, 1):
        note = {"text": each} if isinstance(each, str) else each
        made.append({"order": number, **note} if isinstance(note, dict) else note)
    return made


def cell_text(cell: object) -> Any:
    """A cell as text: a number as JSON writes it, nothing as ""."""
    if cell is None:
        return ""
    return json.dumps(cell) if isinstance(cell, int | float) and not isinstance(cell, bool) else cell


def _question(given: object, number: int, where: str, reading: Reading) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Stop("an object", repr(given)[:60], f"{where}, field 'question'", "fix the file")
    reading.see_keys(given, _QUESTION)
    if given.get("answer") in (None, "", []):
        raise NoAnswer("a gold answer", "none", f"{where}, field 'answer'", "take a split with answers")
    made = {key: value for key, value in given.items() if key in _QUESTION and value is not None}
    answer, said = made["answer"], made.get("answer_type")
    kind = said if said in schema.ANSWER_TYPES else _kind(answer)
    if said is not None and said not in schema.ANSWER_TYPES:
        if said != "counterfactual":
            raise Stop(
                f"one of {', '.join(schema.ANSWER_TYPES)}",
                repr(said)[:60],
                f"{where}, field 'answer_type'",
                "fix the file",
            )
        reading.notes["counterfactual questions, each read as the type that its answer has"] += 1
    if kind in ("span", "multi-span") and isinstance(answer, str):
        answer = [answer]
    elif kind == "count" and isinstance(answer, int) and not isinstance(answer, bool):
        answer = str(answer)
    if "answer_from" not in made:
        reading.notes["questions that do not say where their answer is from"] += 1
    if "order" not in made:
        made["order"] = number + 1
    absent = {"answer_from": schema.UNKNOWN_SOURCE, "derivation": "", "scale": ""}
    return {**absent, **made, "answer": answer, "answer_type": kind}


def _kind(answer: object) -> str:
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return "arithmetic"
    return "multi-span" if isinstance(answer, list) and len(answer) > 1 else "span"
