"""The form of rows is told from their keys; what is no set to train on is named."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.data.readers import forms, messages
from pipeline.data.readers.reading import NoAnswer, Reading
from pipeline.errors import Stop


def _placed(*rows: Any) -> Any:
    return iter([(f"f, row {number}", row) for number, row in enumerate(rows)])


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"instruction": "", "output": ""}, "alpaca"),
        ({"instruction": "", "response": ""}, "dolly"),
        ({"conversations": []}, "sharegpt"),
        ({"messages": []}, "messages"),
        ({"prompt": "", "completion": ""}, "prompt"),
        ({"question": "", "answer": ""}, "prompt"),
        ({"table": {}, "questions": []}, "TAT-QA"),
        ({"table": [], "question": ""}, "TAT-QA"),
        ({"doc": {}, "questions": []}, "TAT-DQA"),
        ({"table": [], "qa": {}}, "FinQA"),
        ({"table": [], "annotation": {}}, "FinQA"),
    ],
)
def test_forms_by_keys(row: dict[str, Any], name: str) -> None:
    form, rows = forms.recognise(_placed(row), "f")
    assert form.name.startswith(name)
    assert list(rows) == [("f, row 0", row)]


def test_a_row_that_lacks_a_key_does_not_change_the_form() -> None:
    form, rows = forms.recognise(_placed({"instruction": "a"}, {"instruction": "a", "output": "b"}), "f")
    assert form.name.startswith("alpaca") and len(list(rows)) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "", "chosen": "", "rejected": ""}, "a preference set"),
        ({"prompt": "", "completion": "", "label": False}, "a preference set"),
        ({"messages": [], "images": ["a.png"]}, "questions about images"),
        ({"text": "a"}, "the keys text"),
        ({"q": "a", "a": "b"}, "data.columns"),
    ],
)
def test_other_sets_are_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        forms.recognise(_placed(row), "f")
    assert message in str(stopped.value)


def test_columns_are_renamed_and_must_be_there() -> None:
    rows = forms.renamed(_placed({"q": "a", "output": "x", "best": "b"}), {"instruction": "q", "output": "best"}, "f")
    assert list(rows) == [("f, row 0", {"instruction": "a", "output": "b"})]
    for columns in ({"instruction": "q", "output": "r"}, {"output": "r"}):
        with pytest.raises(Stop, match=r"in every split: r\n") as stopped:
            list(forms.renamed(_placed({"q": "a"}), columns, "f, split dev"))
        assert (stopped.value.where, stopped.value.found) == ("f, split dev", "the columns q")


def test_no_answer_is_said_only_if_there_is_none_at_all() -> None:
    reading = Reading()
    for number in range(12):
        reading.add_fault(NoAnswer("a gold answer", "none", f"f, row {number}", ""))
    with pytest.raises(Stop, match="no question has one"):
        forms.need_answers(reading, 0, "f")
    reading.add_fault(Stop("a gold answer of every question", "1 of 2 without one", "f, row 12", ""))
    forms.need_answers(reading, 0, "f")
    assert reading.unanswered == 12


def test_a_column_of_images_without_any_is_no_set_of_images() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows = [(f"row {n}", {"messages": turns, "images": [], "videos": None}) for n in range(2)]
    form, _ = forms.recognise(iter(rows), "a file")
    assert form.name == messages.FORM


def test_a_list_of_rows_inside_one_object_is_read() -> None:
    row = {"instruction": "a", "output": "b"}
    reading = Reading()
    rows = list(forms.unwrapped(_placed({"version": 1, "data": [row, row]}), reading))
    assert rows == [("f, row 0, data[0]", row), ("f, row 0, data[1]", row)]
    assert (dict(reading.notes), dict(reading.unknown)) == ({"rows, from the list 'data'": 2}, {"version": 1})


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "a"}]},
        {"train": [{"a": 1}], "test": [{"a": 1}]},
        {"data": [1, 2]},
    ],
)
def test_a_row_or_two_lists_are_no_list_of_rows(row: dict[str, Any]) -> None:
    assert list(forms.unwrapped(_placed(row), Reading())) == [("f, row 0", row)]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": ""}]}, "conversations[1].value"),
        (
            {"system": "s", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": ""}]},
            "conversations[1].value",
        ),
        ({"conversations": [{"from": "gpt", "value": "a"}]}, "conversations[0]"),
        ({"instruction": "a", "output": "<think>", "system": "s", "history": [["q", "a"]]}, "output"),
        ({"instruction": "a", "response": "<think>"}, "response"),
        ({"question": "a", "answer": "<think>", "system": "s"}, "answer"),
        (
            {
                "prompt": [{"role": "user", "content": "a"}],
                "completion": [{"role": "assistant", "content": ""}],
                "system": "s",
            },
            "completion[0].content",
        ),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}, "messages[1].content"),
    ],
)
def test_faults_name_the_field_that_the_file_has(row: dict[str, Any], field: str) -> None:
    reading = Reading()
    form, rows = forms.recognise(_placed(row), "f")
    assert list(forms.read(form, rows, reading)) == []
    assert reading.faults[0].where in (f"f, row 0, field {field!r}", f"f, row 0, {field}")
