"""TAT-QA's contexts with parts absent, one question a context, and TAT-HQA's answer type."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.data.readers import tatqa
from pipeline.data.readers.reading import NoAnswer, Reading
from pipeline.errors import Stop
from pipeline.tatqa import schema

TABLE = [["", "2019"], ["Sales", "1,200"]]


def _context(**question: Any) -> dict[str, Any]:
    return {
        "table": {"table": TABLE},
        "paragraphs": ["In millions."],
        "questions": [{"question": "Sales?", **question}],
    }


def test_absent_parts_are_made_up_and_said() -> None:
    reading = Reading()
    made = schema.check(tatqa.read(_context(answer=["1,200"]), "f, row 0", reading), "f")
    (question,) = made.questions
    assert (question.answer, question.answer_type, question.scale) == (["1,200"], "span", "")
    assert (question.answer_from, question.derivation, made.notes) == (
        schema.UNKNOWN_SOURCE,
        "",
        ((1, "In millions."),),
    )
    assert made.uid and question.uid and made.uid != question.uid
    assert "do not say where" in next(reading.lines())
    again = tatqa.read(_context(answer=["x"]), "f, row 1", reading)
    assert again["table"]["uid"] == made.uid and again["questions"][0]["uid"] != question.uid


@pytest.mark.parametrize(
    ("answer", "kind", "read"),
    [
        (1440, "arithmetic", 1440),
        (["a"], "span", ["a"]),
        (["a", "b"], "multi-span", ["a", "b"]),
        ("a", "span", ["a"]),
    ],
)
def test_a_counterfactual_question_has_the_type_of_its_answer(answer: Any, kind: str, read: Any) -> None:
    reading = Reading()
    made = tatqa.read(_context(answer=answer, answer_type="counterfactual", answer_from="table"), "f", reading)
    assert (made["questions"][0]["answer_type"], made["questions"][0]["answer"]) == (kind, read)
    assert reading.notes["counterfactual questions, each read as the type that its answer has"] == 1


def test_a_count_may_be_a_number_and_a_table_may_have_numbers() -> None:
    given = {**_context(answer=2, answer_type="count", answer_from="table"), "table": [["", 2019], ["Sales", 1.5]]}
    made = tatqa.read(given, "f", Reading())
    assert made["questions"][0]["answer"] == "2"
    assert made["table"]["table"] == [["", "2019"], ["Sales", "1.5"]]


def test_one_question_outside_a_list() -> None:
    made = tatqa.read({"table": TABLE, "question": "Sales?", "answer": ["1,200"], "scale": "million"}, "f", Reading())
    assert (made["questions"][0]["question"], made["questions"][0]["scale"]) == ("Sales?", "million")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"questions": []}, "field 'table'"),
        ({"table": TABLE}, "field 'questions'"),
        (_context(answer=["a"], answer_type="poem"), "field 'answer_type'"),
        (_context(answer={}, answer_type="span"), "field 'answer'"),
        ({"table": [["a"], ["b", "c"]], "questions": []}, "table.table[1]"),
        ({"table": TABLE, "questions": ["a"]}, "question 0"),
    ],
)
def test_other_parts_are_refused_by_field(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        tatqa.read(given, "f, row 3", Reading())
    assert message in str(stopped.value)


def test_a_question_without_an_answer_is_told_apart() -> None:
    with pytest.raises(NoAnswer):
        tatqa.read(_context(), "f", Reading())
