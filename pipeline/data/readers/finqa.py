"""FinQA's questions (Chen et al., EMNLP 2021; czyssrs/FinQA) and ConvFinQA's dialogues (EMNLP 2022; czyssrs/ConvFinQA).

    {"id": "…", "pre_text": ["…"], "post_text": ["…"], "table": [["", "2019"], ["sales", "5829"]],
     "qa": {"question": "…", "program": "subtract(5829, 5735), divide(#0, 5735)", "exe_ans": 0.0164, "answer": "1.6%"}}

A program becomes an equation, (5829 - 5735) / 5735. ConvFinQA has `annotation` instead: whole dialogues, or one turn a
row. A turn is asked with the questions before it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from pipeline.data.readers import finqa_program, tatqa
from pipeline.data.readers.reading import Reading
from pipeline.data.readers.tatqa import RawContext
from pipeline.errors import Stop
from pipeline.tatqa import equation
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
    rows = _rows(record.get("table"), where, reading)
    texts = [*_texts(record, "pre_text", where), *_texts(record, "post_text", where)]
    notes = [{"order": number, "text": text} for number, text in enumerate(texts, 1)]
    name = str(record.get("id") or record.get("uid") or "")
    questions = [
        _question(asked, program, result, written, rows, name if only or not name else f"{name}-{number}", reading)
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
            asked = " ".join(_listed(annotation, "cur_dial", where))
            found = [(True, 0, asked, annotation["cur_program"], annotation["exe_ans"], "")]
        elif isinstance(annotation, dict):
            turns = _listed(annotation, "dialogue_break", where)
            programs, results = (annotation[name] for name in ("turn_program", "exe_ans_list"))
            if not isinstance(programs, list) or not isinstance(results, list):
                raise TypeError("turn_program and exe_ans_list are lists")
            found = [
                (len(turns) == 1, number, " ".join(turns[: number + 1]), program, result, "")
                for number, (_, program, result) in enumerate(zip(turns, programs, results, strict=True))
            ]
        elif isinstance(qa, dict):
            written = str(qa.get("answer") or "")
            found = [(True, 0, qa["question"], qa.get("program", ""), qa.get("exe_ans"), written)]
        else:
            raise Stop("qa, or annotation", "neither", where, "fix that row")
    except (KeyError, ValueError, TypeError) as error:
        raise Stop(FORM, f"{type(error).__name__}: {error}", where, "fix that row") from None
    for *_, result, _ in found:
        if result is not None and (isinstance(result, bool) or not isinstance(result, int | float | str)):
            wanted = "a number, or a text such as yes"
            raise Stop(wanted, repr(result)[:60], f"{where}, field 'exe_ans'", "fix that row")
    return found


def _listed(annotation: Mapping[str, Any], field: str, where: str) -> list[str]:
    given = annotation[field]
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        place = f"{where}, field {f'annotation.{field}'!r}"
        raise Stop("a list of questions", repr(given)[:60], place, "fix that row")
    return given


def _question(
    asked: str, program: str, result: object, written: str, rows: Sequence[Sequence[str]], uid: str, reading: Reading
) -> dict[str, Any]:
    question: dict[str, Any] = {"uid": uid, "question": asked, "derivation": "", "scale": ""}
    if result is None:
        return question
    if isinstance(result, str) and _NUMBER.fullmatch(result.strip()):
        result = float(result)
    if not isinstance(result, int | float):
        return {**question, "answer": [str(result)], "answer_type": "span"}
    percent, times_100 = _percent(written, result, reading)
    try:
        question["derivation"] = finqa_program.equation_of(str(program), rows, result, times_100)
    except Unreadable:
        reading.notes["programs that are no equation, trained as plain answers"] += 1
    # rounded as the answer of an equation is: four digits of a tiny percentage
    number = float(equation.answer(Fraction(repr(float(result))) * 100)) if times_100 else result
    return {**question, "answer": number, "answer_type": "arithmetic", "scale": "percent" if percent else ""}


_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
_PERCENT = re.compile(
    r"(?P<open>[-\u2212+(\s]*)\$?\s*(?P<digits>\d[\d,]*\.?\d*|\.\d+)\s*\)?\s*(?:[%\uff05]|per\s?cents?)\s*\)?[.\s]*",
    re.IGNORECASE | re.ASCII,
)


def _percent(written: str, result: float, reading: Reading) -> tuple[bool, bool]:
    """Whether a result is a percentage by the answer as written, and whether it is a fraction of one: 0.0164 of "1.6%".

    The sign is the result's: authors write a decrease as "12.5%", "-12.5%" or "( 12.5 ) %".
    """
    found = _PERCENT.fullmatch(written.strip())
    if not found:
        if re.search(r"[%\uff05]|percent|per cent", written, re.IGNORECASE):
            reading.notes["answers with a percent sign among other text, taken as the program gives them"] += 1
        return False, False
    digits = found["digits"].replace(",", "")
    shown, value = float(digits), abs(result)
    # half a unit of the last digit that is written, and a little for figures that were rounded before
    within = 0.51 * 10.0 ** -len(digits.partition(".")[2]) + 0.01 * shown
    by_fraction, by_percent = abs(value * 100 - shown), abs(value - shown)
    if min(by_fraction, by_percent) > within:
        reading.notes["answers in percent that the program does not give, taken as the program gives them"] += 1
        return False, False
    if shown and value and (result < 0) != any(sign in found["open"] for sign in "-\u2212("):
        reading.notes["percentages whose written sign is not that of the program, which is taken"] += 1
    return True, by_fraction <= by_percent


def _rows(given: object, where: str, reading: Reading) -> list[list[str]]:
    """The table, its short rows filled up and counted."""
    if not isinstance(given, list) or not given or not all(isinstance(row, list) for row in given):
        raise Stop("a table: a list of rows", repr(given)[:60], f"{where}, field 'table'", "fix that row")
    width = max(map(len, given))
    if short := sum(len(row) < width for row in given):
        reading.notes["table rows with fewer cells than others, filled up with empty ones"] += short
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
