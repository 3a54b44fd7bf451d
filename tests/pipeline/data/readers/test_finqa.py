"""FinQA's rows and ConvFinQA's dialogues as contexts."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.data.readers import finqa
from pipeline.data.readers.reading import NoAnswer, Reading
from pipeline.errors import Stop
from pipeline.tatqa import schema, target

PAGE = {
    "id": "X/2009/page_33.pdf-1",
    "filename": "X/2009/page_33.pdf",
    "pre_text": ["sales are in millions .", "."],
    "post_text": ["( 1 ) unaudited"],
    "table": [["", "2019", "2018"], ["sales", "5829", "5735"], ["total"]],
}


def _qa(**more: Any) -> dict[str, Any]:
    qa = {"question": "by how much ?", "program": "subtract(5829, 5735), divide(#0, 5735)", "exe_ans": 0.01639}
    return {**PAGE, "qa": {**qa, "answer": "1.6%", "gold_inds": {"table_1": "", "text_0": ""}, **more}}


def test_a_fraction_written_in_percent_is_a_percentage() -> None:
    reading = Reading()
    made = schema.check(finqa.read(_qa(), "f, row 0", reading), "f")
    (question,) = made.questions
    assert (question.answer, question.scale, question.answer_type) == (1.64, "percent", "arithmetic")
    assert question.derivation == "(5829 - 5735) / 5735 * 100"
    assert (question.uid, question.answer_from) == ("X/2009/page_33.pdf-1", "table-text")
    assert made.notes == ((1, "sales are in millions ."), (2, "( 1 ) unaudited"))
    assert made.rows[2] == ("total", "", "")
    assert reading.notes["table rows with fewer cells than others, filled up with empty ones"] == 1
    assert not reading.unknown
    plain = finqa.read(_qa(answer="0.02", gold_inds={}), "f", reading)["questions"][0]
    assert (plain["answer"], plain["scale"], plain["answer_from"]) == (0.01639, "", schema.UNKNOWN_SOURCE)


def test_yes_no_and_programs_that_are_no_equation() -> None:
    reading = Reading()
    answer = finqa.read(_qa(program="greater(5, 3)", exe_ans="yes"), "f", reading)["questions"][0]
    assert (answer["answer"], answer["answer_type"]) == (["yes"], "span")
    other = finqa.read(_qa(program="table_sum(gross, none)"), "f", reading)["questions"][0]
    assert other["derivation"] == "" and other["answer"] == 1.64
    assert reading.notes["programs that are no equation, trained as plain answers"] == 1


def test_the_turns_of_a_dialogue_are_asked_with_those_before() -> None:
    annotation = {
        "dialogue_break": ["sales in 2019?", "and in 2018?", "the change?"],
        "turn_program": ["5829", "5735", "subtract(5829, 5735)"],
        "exe_ans_list": [5829.0, 5735.0, 94.0],
    }
    questions = finqa.read({**PAGE, "annotation": annotation}, "f", Reading())["questions"]
    assert [each["question"] for each in questions][2] == "sales in 2019? and in 2018? the change?"
    assert [each["derivation"] for each in questions] == ["5829", "5735", "5829 - 5735"]
    assert len({each["uid"] for each in questions}) == 3
    turn = {"cur_dial": ["sales in 2019?", "and in 2018?"], "cur_program": "5735", "exe_ans": 5735.0, "turn_ind": 1}
    (question,) = finqa.read({**PAGE, "annotation": turn}, "f", Reading())["questions"]
    assert (question["question"], question["answer"]) == ("sales in 2019? and in 2018?", 5735.0)


@pytest.mark.parametrize(
    ("written", "result", "answer", "scale", "note"),
    [
        ("12.5%", 0.125, 12.5, "percent", ""),
        ("12.5 percent", 0.125, 12.5, "percent", ""),
        ("12.5 per cent", 0.125, 12.5, "percent", ""),
        ("12.5％", 0.125, 12.5, "percent", ""),
        ("( 12.5 ) %", -0.125, -12.5, "percent", ""),
        ("(12.5%)", -0.125, -12.5, "percent", ""),
        ("-12.5%", -0.125, -12.5, "percent", ""),
        ("12.5%", -0.125, -12.5, "percent", "written sign"),
        ("-12.5%", 0.125, 12.5, "percent", "written sign"),
        ("1,250%", 12.5, 1250.0, "percent", ""),
        ("12.5%", 12.5, 12.5, "percent", ""),  # in percent already
        ("0.001%", 0.00001, 0.001, "percent", ""),
        ("0%", 0.0, 0.0, "percent", ""),
        ("53%", 0.53448, 53.45, "percent", ""),
        ("6.5%", 93.5, 93.5, "", "that the program does not give"),
        ("from 3% to 5%", 0.02, 0.02, "", "among other text"),
        ("0.125", 0.125, 0.125, "", ""),
    ],
)
def test_percentages_as_they_are_written(written: str, result: float, answer: float, scale: str, note: str) -> None:
    reading = Reading()
    row = _qa(answer=written, exe_ans=result, program=f"{result:.5f}")
    (question,) = finqa.read(row, "f", reading)["questions"]
    assert (question["answer"], question["scale"]) == (answer, scale)
    if scale:  # the equation gives the answer
        assert target.write(_task(question), "en", "equation")[1] == ""
    assert [note in each for each in reading.notes if "percent" in each] == [True] * bool(note)


def _task(question: dict[str, Any]) -> target.Task:
    return target.Task(question["answer"], "arithmetic", question["scale"], question["derivation"], {})


def test_a_number_in_a_string_is_a_number() -> None:
    (question,) = finqa.read(_qa(exe_ans="0.01639"), "f", Reading())["questions"]
    assert (question["answer"], question["answer_type"]) == (1.64, "arithmetic")


def test_questions_of_one_page_without_an_id_differ() -> None:
    rows = [{**_qa(question=asked), "id": ""} for asked in ("a ?", "b ?", "a ?")]
    uids = [finqa.read(row, "f", Reading())["questions"][0]["uid"] for row in rows]
    assert uids[0] == uids[2] != uids[1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_qa(exe_ans=True), "field 'exe_ans'"),
        (_qa(exe_ans=[1]), "field 'exe_ans'"),
        ({**PAGE, "annotation": {"cur_dial": "sales?", "cur_program": "1", "exe_ans": 1}}, "annotation.cur_dial"),
        (
            {**PAGE, "annotation": {"dialogue_break": "ab", "turn_program": ["1", "2"], "exe_ans_list": [1, 2]}},
            "annotation.dialogue_break",
        ),
        (
            {**PAGE, "annotation": {"dialogue_break": ["a", "b"], "turn_program": "12", "exe_ans_list": [1, 2]}},
            "are lists",
        ),
        (
            {
                **PAGE,
                "annotation": {"dialogue_break": ["a", "b"], "turn_program": ["1", "2"], "exe_ans_list": [1, None]},
            },
            "1 of 2 without one",
        ),
        (PAGE, "qa, or annotation"),
        ({**PAGE, "qa": {"exe_ans": 3}}, "KeyError: 'question'"),
        ({**PAGE, "annotation": {"dialogue_break": ["a"]}}, "KeyError"),
        ({**_qa(), "table": []}, "field 'table'"),
        ({**_qa(), "pre_text": [3]}, "field 'pre_text'"),
    ],
)
def test_other_rows_are_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        finqa.read(row, "f, row 3", Reading())
    assert message in str(stopped.value)


@pytest.mark.parametrize("result", [{}, {"exe_ans": None}, {"exe_ans": ""}, {"exe_ans": " "}])
def test_a_question_without_an_answer_is_told_apart(result: dict[str, Any]) -> None:
    with pytest.raises(NoAnswer):
        finqa.read({**PAGE, "qa": {"question": "a", **result}}, "f", Reading())
