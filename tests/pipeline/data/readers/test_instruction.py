"""Alpaca's and Dolly's rows."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.data.readers import instruction
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop


def test_alpaca_with_input_system_and_history() -> None:
    row: dict[str, Any] = {
        "instruction": "Sales?",
        "input": "1,200",
        "output": "1,200",
        "system": "Be brief.",
        "history": [["a", "b"]],
    }
    messages = instruction.alpaca(row, "f, row 0", Reading())["messages"]
    assert [(each["role"], each["content"]) for each in messages] == [
        ("system", "Be brief."),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Sales?\n1,200"),
        ("assistant", "1,200"),
    ]
    empty: dict[str, Any] = {"input": "", "system": None, "history": []}
    row |= empty
    assert [each["content"] for each in instruction.alpaca(row, "f", Reading())["messages"]] == ["Sales?", "1,200"]


def test_dolly() -> None:
    reading = Reading()
    row = {"instruction": "Sales?", "context": "1,200", "response": "1,200", "category": "closed_qa", "id": 7}
    messages = instruction.dolly(row, "f, row 0", reading)["messages"]
    assert [each["content"] for each in messages] == ["Sales?\n1,200", "1,200"]
    assert list(reading.lines()) == ["keys that are not used, with the rows that have them: id (1)"]
    again = instruction.dolly({**row, "system": "s", "history": [["b", "c"]]}, "f, row 0", reading)
    assert [each["content"] for each in again["messages"]] == ["s", "b", "c", "Sales?\n1,200", "1,200"]
    assert dict(reading.unknown) == {"id": 2}  # system and history are used


def test_a_number_is_its_text_and_counted() -> None:
    reading = Reading()
    for value, text in ((0.0, "0.0"), (3, "3")):
        assert instruction.alpaca({"instruction": "a", "output": value}, "f", reading)["messages"][1]["content"] == text
    assert list(reading.lines()) == ["2 answers that are numbers, taken as their text"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"output": "b"}, "field 'instruction'"),
        ({"instruction": "a"}, "field 'output'"),
        ({"instruction": "a", "output": ""}, "field 'output'"),
        ({"instruction": "a", "output": True}, "field 'output'"),
        ({"instruction": "a", "output": ["b"]}, "field 'output'"),
        ({"instruction": 3, "output": "b"}, "field 'instruction'"),
        ({"instruction": "a", "output": "\ud800"}, "half a surrogate pair"),
        ({"instruction": "a", "output": "b", "history": "c"}, "field 'history'"),
        ({"instruction": "a", "output": "b", "history": [["c"]]}, "field 'history[0]'"),
        ({"instruction": "a", "output": "b", "history": [["c", ""]]}, "field 'history[0]'"),
    ],
)
def test_a_row_that_lacks_a_text_is_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        instruction.alpaca(row, "f, row 3", Reading())
    assert message in str(stopped.value) and "f, row 3" in stopped.value.where


def test_history_as_json_in_a_cell() -> None:
    row = {"instruction": "Sales?", "output": "1", "history": '[["q", "a"]]'}
    messages = instruction.alpaca(row, "f, row 0", Reading())["messages"]
    assert [each["content"] for each in messages] == ["q", "a", "Sales?", "1"]
    with pytest.raises(Stop, match="as JSON"):
        instruction.alpaca({**row, "history": "[['q', 'a']]"}, "f, row 0", Reading())


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_a_column_of_traces_is_read_as_the_trace_of_the_answer(name: str) -> None:
    reading = Reading()
    row = {"instruction": "Sales?", "output": "1", "response": "1", name: "It says 1."}
    for read in (instruction.alpaca, instruction.dolly):
        messages = read({**row, name: "It says 1."}, "f, row 0", reading)["messages"]
        assert messages[-1] == {"role": "assistant", "content": "1", "reasoning_content": "It says 1."}
    assert reading.notes == {f"reasoning traces, from the column {name!r}": 2}
    assert name not in reading.unknown
