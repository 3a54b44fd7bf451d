"""TAT-QA's contexts with parts absent, one question a context, and TAT-HQA's answer type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.readers import records, tatqa
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
    copy = tatqa.read(_context(answer=["1,200"]), "f, row 2", reading)
    assert copy["questions"][0]["uid"] == question.uid
    empty = tatqa.read(_context(answer=["1,200"], uid=""), "f, row 3", reading)
    assert empty["questions"][0]["uid"] == question.uid


def test_a_copied_question_without_a_uid_is_left_out_and_counted() -> None:
    given = _context(answer=["1,200"])
    given["questions"] += [*given["questions"], {"question": "Sales?", "answer": ["1"]}]
    reading = Reading()
    assert [each["answer"] for each in tatqa.read(given, "f", reading)["questions"]] == [["1,200"], ["1"]]
    assert reading.notes[tatqa.COPIES] == 1


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


def test_numbers_in_a_table_keep_the_digits_of_the_file(tmp_path: Path) -> None:
    cells = "44.10, 1e5, 12345678901234567890123, 10000000000000000.0, 0.00001, -5"
    row = f'{{"table": [["a", "b", "c", "d", "e", "f"], [{cells}]], "question": "Sales?", "answer": 44.10}}'
    for text in (f"[{row}]", row, f"{row}\n{row}\n"):
        (tmp_path / "x").write_text(text)
        _, rows = records.read(tmp_path / "x", lambda stop: pytest.fail(str(stop)))
        made = tatqa.read(next(rows)[1], "f", Reading())
        assert made["table"]["table"][1] == cells.split(", ")
        assert json.dumps(made["questions"][0]["answer"]) == "44.1"
    # Parquet has no digits of its own
    assert [tatqa.cell_text(each) for each in (1e16, 1e-5, 2.5, float("nan"))] == [
        "10000000000000000",
        "0.00001",
        "2.5",
        "",
    ]


def test_one_question_outside_a_list() -> None:
    made = tatqa.read({"table": TABLE, "question": "Sales?", "answer": ["1,200"], "scale": "million"}, "f", Reading())
    assert (made["questions"][0]["question"], made["questions"][0]["scale"]) == ("Sales?", "million")
    own = tatqa.read({"uid": "q7", "table": TABLE, "question": "Sales?", "answer": ["1,200"]}, "f", Reading())
    assert (own["questions"][0]["uid"], own["table"]["uid"]) == ("q7", made["table"]["uid"])
    many = tatqa.read({"uid": "c7", **_context(answer=["1"]), "table": TABLE}, "f", Reading())
    assert many["table"]["uid"] == "c7"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"questions": []}, "field 'table'"),
        ({"table": TABLE}, "field 'questions'"),
        (_context(answer=["a"], answer_type="poem"), "field 'answer_type'"),
        (_context(answer={}, answer_type="span"), "field 'answer'"),
        ({"table": [["a"], ["b", "c"]], "questions": []}, "table.table[1]"),
        ({"table": TABLE, "questions": ["a"]}, "question 0"),
        ({"table": TABLE, "question": " ", "answer": ["a"]}, "question 0, field 'question'"),
        ({"table": TABLE, "questions": [{"question": "a", "answer": 1}, {"question": "b"}]}, "1 of 2 without one"),
    ],
)
def test_other_parts_are_refused_by_field(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        tatqa.read(given, "f, row 3", Reading())
    assert message in str(stopped.value)


@pytest.mark.parametrize("answer", [None, "", " ", [], [""], [" ", None]])
def test_a_question_without_an_answer_is_told_apart(answer: Any) -> None:
    with pytest.raises(NoAnswer):
        tatqa.read(_context(answer=answer), "f", Reading())


def test_an_empty_part_of_an_answer_is_kept_and_counted() -> None:
    reading = Reading()
    made = tatqa.read(_context(answer=["a", "b", ""], answer_type="multi-span"), "f", reading)
    assert made["questions"][0]["answer"] == ["a", "b", ""]
    assert "1 answers with an empty part, kept as they are" in list(reading.lines())


@pytest.mark.parametrize(
    ("question", "read"),
    [
        ({"answer": "100", "derivation": "11,200-11,100"}, (100, "arithmetic")),
        ({"answer": ["100"], "derivation": "11,200-11,100", "answer_type": None}, (100, "arithmetic")),
        ({"answer": "(12.6)", "derivation": "44.1-56.7"}, (-12.6, "arithmetic")),
        ({"answer": "$1,000", "derivation": "500*2"}, (1000, "arithmetic")),
        ({"answer": "12.5%", "derivation": "1/8", "scale": "percent"}, (12.5, "arithmetic")),
        ({"answer": "100", "derivation": "11,200-11,000"}, (["100"], "span")),
        ({"answer": "100", "derivation": "100"}, (["100"], "span")),
        ({"answer": "100", "derivation": ""}, (["100"], "span")),
        ({"answer": "Leeds", "derivation": "2-1"}, (["Leeds"], "span")),
        ({"answer": "100", "derivation": "11,200-11,100", "answer_type": "span"}, (["100"], "span")),
        ({"answer": "2", "derivation": "2018##2019", "answer_type": "count"}, ("2", "count")),
    ],
)
def test_a_number_as_text_is_arithmetic_if_its_derivation_computes_it(
    question: dict[str, Any], read: tuple[Any, str]
) -> None:
    reading = Reading()
    made = tatqa.read(_context(**question), "f, row 0", reading)["questions"][0]
    assert (made["answer"], made["answer_type"]) == read
    said = [note for note in reading.notes if note.startswith("numbers as text")]
    assert len(said) == (read[1] == "arithmetic" or question["derivation"] == "11,200-11,000")
