"""FinQA's questions (Chen et al., EMNLP 2021; czyssrs/FinQA) and ConvFinQA's dialogues (EMNLP 2022; czyssrs/ConvFinQA).

    {"id": "…", "pre_text": ["…"], "post_text": ["…"], "table": [["", "2019"], ["sales", "5829"]],
     "qa": {"question": "…", "program": "subtract(5829, 5735), divide(#0, 5735)", "exe_ans": 0.0164, "answer": "1.6%"}}

A program becomes an equation, (5829 - 5735) / 5735. ConvFinQA has `annotation` instead: whole dialogues, or one turn a
row. A turn is asked with the questions before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.data.readers import finqa_program, tatqa
from pipeline.data.readers.reading import NoAnswer, Reading
from pipeline.data.readers.tatqa import RawContext
from pipeline.errors import Stop
from pipeline.tatqa.equation import Unreadable

FORM = "FinQA or ConvFinQA: pre_text, post_text, table, and qa or annotation"

_KNOWN = {"id", "uid", "filename", "pre_text", "post_text", "table", "table_ori", "qa", "qa_0", "qa_1", "annotation"}
_RETRIEVED = {  # what the authors' retriever adds
    "table_retrieved",
    "text_retrieved",
    "table_retrieved_all",
    "text_retrieved_all",
    "model_input",
    "tfidftopn",
}


def read(record: Mapping[str, Any], where: str, reading: Reading) -> RawContext:
    """A context in TAT-QA's schema.

    Raises:
        Stop: a field is missing or of another kind; NoAnswer: as in the private test split.
    """
    reading.see_keys(record, _KNOWN | _RETRIEVED)
    rows = _rows(record.get("table"), where)
    texts = [*_texts(record, "pre_text", where), *_texts(record, "post_text", where)]
    notes = [{"order": number, "text": text} for number, text in enumerate(texts, 1)]
    name = str(record.get("id") or record.get("uid") or tatqa.content_uid(rows, notes))
    questions = [
        _question(asked, program, result, written, rows, name if only else f"{name}-{number}", reading)
        for only, number, asked, program, result, written in _asked(record, where)
    ]
    sources = _sources(record)
    context = {
        "table": {"uid": tatqa.content_uid(rows, notes), "table": rows},
        "paragraphs": notes,
        "questions": [{**each, "answer_from": sources} if sources else each for each in questions],
    }
    return tatqa.read(context, where, reading)


_Asked = tuple[bool, int, str, str, Any, str]  # the only one; number; question; program; executed; answer as written


def _asked(record: Mapping[str, Any], where: str) -> list[_Asked]:
    qa, annotation = record.get("qa"), record.get("annotation")
    try:
        if isinstance(annotation, dict) and "cur_dial" in annotation:
            dialogue = annotation["cur_dial"]
            found = [(True, 0, " ".join(dialogue), annotation["cur_program"], annotation["exe_ans"], "")]
        elif isinstance(annotation, dict):
            turns = annotation["dialogue_break"]
            each = zip(turns, annotation["turn_program"], annotation["exe_ans_list"], strict=True)
            found = [
                (len(turns) == 1, number, " ".join(turns[: number + 1]), program, result, "")
                for number, (_, program, result) in enumerate(each)
            ]
        elif isinstance(qa, dict):
            if "exe_ans" not in qa:
                raise NoAnswer("a gold answer", "none", f"{where}, field 'qa.exe_ans'", "take a split with answers")
            found = [(True, 0, qa["question"], qa.get("program", ""), qa["exe_ans"], str(qa.get("answer") or ""))]
        else:
            raise Stop("qa, or annotation", "neither", where, "fix that row")
    except (KeyError, ValueError, TypeError) as error:
        raise Stop(FORM, f"{type(error).__name__}: {error}", where, "fix that row") from None
    return found


def _question(
    asked: str, program: str, result: object, written: str, rows: Sequence[Sequence[str]], uid: str, reading: Reading
) -> dict[str, Any]:
    question: dict[str, Any] = {"uid": uid, "question": asked, "derivation": "", "scale": ""}
    if isinstance(result, bool) or not isinstance(result, int | float):
        return {**question, "answer": [str(result)], "answer_type": "span"}
    percent = written.strip().endswith("%") and _is_fraction(written, result)
    try:
        question["derivation"] = finqa_program.equation_of(str(program), rows, result, percent)
    except Unreadable:
        reading.notes["programs that are no equation, trained as plain answers"] += 1
    number = round(result * 100, 2) if percent else result
    return {**question, "answer": number, "answer_type": "arithmetic", "scale": "percent" if percent else ""}


def _is_fraction(written: str, result: float) -> bool:
    """Whether a result such as 0.0164 is the answer "1.6%" as a fraction of one."""
    try:
        shown = float(written.strip().rstrip("%").replace(",", "").strip())
    except ValueError:
        return False
    return abs(result * 100 - shown) <= abs(result - shown)


def _rows(given: object, where: str) -> list[list[str]]:
    """The table, its short rows filled up."""
    if not isinstance(given, list) or not given or not all(isinstance(row, list) for row in given):
        raise Stop("a table: a list of rows", repr(given)[:60], f"{where}, field 'table'", "fix that row")
    width = max(map(len, given))
    return [[tatqa.cell_text(cell) for cell in row] + [""] * (width - len(row)) for row in given]


def _texts(record: Mapping[str, Any], field: str, where: str) -> list[str]:
    given = record.get(field, [])
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise Stop("a list of texts", repr(given)[:60], f"{where}, field {field!r}", "fix that row")
    return [each for each in given if any(char.isalnum() for char in each)]


def _sources(record: Mapping[str, Any]) -> str:
    """Where the answer is from, by the gold evidence; "" if the row does not say."""
    holders = [record.get("qa"), record.get("annotation")]
    gold = [each.get("gold_inds") or each.get("gold_ind") for each in holders if isinstance(each, dict)]
    kinds = {key.partition("_")[0] for each in gold if isinstance(each, dict) for key in each}
    return (
        "table-text"
        if {"table", "text"} <= kinds
        else "table"
        if "table" in kinds
        else "text"
        if "text" in kinds
        else ""
    )
