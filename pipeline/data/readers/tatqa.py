"""Contexts in TAT-QA's raw schema (pipeline/tatqa/schema.py), also with parts absent, and TAT-HQA's.

    {"table": [["", "2019"], ["Sales", "1,200"]], "question": "What were sales?", "answer": ["1,200"]}

Absent: `uid`s are made up from the content, so that copies have the same; `answer_type` is told from the answer, and
is arithmetic for a number as text that the derivation computes; `answer_from`, `derivation` and `scale` are "". A
context may have one question outside a list. TAT-HQA's answer type `counterfactual` is the type that its answer has
(Li et al., ACL 2022, "Learning to Imagine").
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

from pipeline.data.readers.reading import NoAnswer, Reading
from pipeline.errors import Stop
from pipeline.json_stream import WrittenFloat
from pipeline.tatqa import equation, schema, target

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

COPIES = "questions without a uid that are copies of others of their context, left out"
MADE_UP = "content-"  # what the uid of a question begins with if the file has none


def read(record: Mapping[str, Any], where: str, reading: Reading) -> RawContext:
    """A context of the strict schema. The uid of a row with one question outside a list is the question's.

    Raises:
        Stop: it has no table or no question, or as `schema.check`.
        NoAnswer: none of its questions has an answer.
    """
    single = "question" in record and "questions" not in record
    reading.see_keys(record, {"table", "paragraphs", "questions", "uid", *(_QUESTION if single else ())})
    made = _table_and_notes({key: value for key, value in record.items() if key != "uid"} if single else record, where)
    if single:
        questions: Any = [{key: record[key] for key in _QUESTION & record.keys()}]
    else:
        questions = record.get("questions")
    if not isinstance(questions, list):
        raise Stop("a list of questions", repr(questions)[:60], f"{where}, field 'questions'", "fix that row")
    _need_answers(questions, where)
    made["questions"] = []
    for number, each in enumerate(questions):
        question = _question(each, number, f"{where}, question {number}", reading)
        if "uid" not in question:
            question["uid"] = _question_uid(question, made["table"]["uid"])
            if any(question["uid"] == other["uid"] for other in made["questions"]):
                reading.notes[COPIES] += 1
                continue
        made["questions"].append(question)
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
    answered = [each for each in questions if has_answer(each)]
    return read({**record, **made, "questions": answered}, where, Reading())


def _table_and_notes(record: Mapping[str, Any], where: str) -> RawContext:
    given = record.get("table")
    table = given if isinstance(given, dict) else {"table": given}
    listed = table.get("table")
    if not isinstance(listed, list):
        raise Stop("a table: a list of rows", repr(given)[:60], f"{where}, field 'table'", "fix that row")
    rows = [[cell_text(cell) for cell in row] if isinstance(row, list) else row for row in listed]
    notes = paragraphs(record.get("paragraphs"))
    uid = next((each["uid"] for each in (table, record) if each.get("uid") not in (None, "")), None)
    return {"table": {"uid": content_uid(rows, notes) if uid is None else uid, "table": rows}, "paragraphs": notes}


def _question_uid(question: Mapping[str, Any], context: object) -> str:
    content = {key: value for key, value in question.items() if key != "order"}
    return MADE_UP + hashlib.sha256(json.dumps([context, content], sort_keys=True).encode()).hexdigest()[:32]


def content_uid(rows: object, notes: object) -> str:
    """A uid of a table and its notes: equal for equal ones, by whatever orders the notes have."""
    with contextlib.suppress(KeyError, TypeError):  # broken notes, which the schema's check refuses
        notes = [note["text"] for note in sorted(cast("list[Any]", notes), key=lambda note: note["order"])]
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
    """A cell as text: a number in the digits that the file has, or plain ones if it is not text; nothing as ""."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):  # Parquet's empty cell among numbers
        return ""
    if isinstance(cell, WrittenFloat):
        return cell.digits
    if isinstance(cell, float):
        return format(Decimal(repr(cell)), "f")
    return str(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell


def has_answer(question: object) -> bool:
    """Whether a raw question has something as its answer."""
    answer = question.get("answer") if isinstance(question, dict) else None
    listed = answer if isinstance(answer, list) else [answer]
    return any(each is not None and not (isinstance(each, str) and not each.strip()) for each in listed)


def _need_answers(questions: list[Any], where: str) -> None:
    """Raise NoAnswer if no question has an answer, and Stop if only some have one."""
    lacking = [number for number, each in enumerate(questions) if isinstance(each, dict) and not has_answer(each)]
    if not lacking:
        return
    place = f"{where}, question {lacking[0]}, field 'answer'"
    if len(lacking) == len(questions):
        raise NoAnswer("a gold answer", "none", place, "take a split with answers")
    found = f"{len(lacking)} of {len(questions)} without one"
    raise Stop("a gold answer of every question", found, place, "drop the questions without an answer")


def _question(given: object, number: int, where: str, reading: Reading) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Stop("an object", repr(given)[:60], f"{where}, field 'question'", "fix the file")
    reading.see_keys(given, _QUESTION)
    made = {key: value for key, value in given.items() if key in _QUESTION and value is not None}
    if made.get("uid") == "":
        del made["uid"]
    if isinstance(asked := made.get("question"), str) and not asked.strip():
        raise Stop("a question", repr(asked)[:60], f"{where}, field 'question'", "fix that row")
    answer, said = made["answer"], made.get("answer_type")
    if said is None and (computed := _computed(made, reading)) is not None:
        answer = computed
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
    if isinstance(answer, list) and any(isinstance(each, str) and not each.strip() for each in answer):
        reading.notes["answers with an empty part, kept as they are"] += 1  # TAT-QA's dev has one
    if "answer_from" not in made:
        reading.notes["questions that do not say where their answer is from"] += 1
    if "order" not in made:
        made["order"] = number + 1
    absent = {"answer_from": schema.UNKNOWN_SOURCE, "derivation": "", "scale": ""}
    return {**absent, **made, "answer": answer, "answer_type": kind}


def _computed(question: Mapping[str, Any], reading: Reading) -> int | float | None:
    """The number that an answer is as text, if the question's derivation is a sum that computes it; else None."""
    answer, derivation = question["answer"], question.get("derivation")
    text = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    if not isinstance(text, str) or not isinstance(derivation, str) or not derivation.strip():
        return None
    try:
        written = equation.read(text)
        if not isinstance(written, equation.Number | equation.Negative) or "##" in derivation:  # as of a count
            return None
        exact = equation.value(written) * (100 if text.rstrip(" )）").endswith(("%", "％")) else 1)
        number = int(exact) if exact.denominator == 1 else float(exact)
    except (equation.Unreadable, OverflowError):
        return None
    try:
        if isinstance(next(equation.readings(derivation)), equation.Number):  # where it is from, and no sum
            return None
        target.gold_equation(number, str(question.get("scale") or ""), derivation)
    except equation.Unreadable:
        reading.notes["numbers as text with a derivation that does not compute them, read as spans"] += 1
        return None
    reading.notes["numbers as text that their derivation computes, read as arithmetic"] += 1
    return number


def _kind(answer: object) -> str:
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return "arithmetic"
    return "multi-span" if isinstance(answer, list) and len(answer) > 1 else "span"
