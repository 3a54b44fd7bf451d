"""ShareGPT's conversations, with LLaMA Factory's roles for tools."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.data.readers import sharegpt
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop


def test_roles_system_and_tools() -> None:
    turns = [
        {"from": "human", "value": "a"},
        {"from": "function_call", "value": '{"name": "rate", "arguments": {"pair": "EUR"}}'},
        {"from": "observation", "value": "1.1"},
        {"from": "gpt", "value": "It is 1.1."},
    ]
    row = {"conversations": turns, "system": "Be brief.", "tools": '[{"name": "rate", "parameters": {}}]', "id": "x"}
    reading = Reading()
    read = sharegpt.read(row, "f, row 0", reading)
    assert [each["role"] for each in read["messages"]] == ["system", "user", "assistant", "tool", "assistant"]
    assert read["messages"][2]["tool_calls"][0]["function"]["name"] == "rate"
    assert read["tools"][0]["function"]["name"] == "rate"
    assert dict(reading.unknown) == {"id": 1}


def test_a_system_field_and_a_system_turn_are_one_message_or_refused() -> None:
    turns = [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]
    for system in ("", "s"):
        read = sharegpt.read({"conversations": turns, "system": system}, "f, row 0", Reading())
        assert [each["content"] for each in read["messages"]] == ["s", "a", "b"]
    with pytest.raises(Stop) as stopped:
        sharegpt.read({"conversations": turns, "system": "other"}, "f, row 3", Reading())
    assert stopped.value.found == "the field 'system', and a system message that differs"
    assert stopped.value.where == "f, row 3"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"conversations": "a"}, "a list of from and value"),
        ({"conversations": [{"from": "narrator", "value": "a"}]}, "conversations[0].from"),
        ({"conversations": [{"from": "function_call", "value": "rate()"}]}, "a call as JSON"),
        ({"conversations": [{"from": "human", "value": 3}]}, "conversations[0].value"),
        ({"conversations": [{"from": ["human"], "value": "a"}]}, "found: ['human']"),
        (
            {"conversations": [{"from": "function_call", "value": '{"name": "f", "arguments": {"a": 1, "a": 2}}'}]},
            "'a' twice in one object",
        ),
        ({"conversations": [{"from": "gpt", "value": "a", "weight": 0.5}]}, "a weight of 0 or 1"),
    ],
)
def test_what_is_no_turn_is_refused_by_field(row: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        sharegpt.read(row, "f, row 3", Reading())
    assert message in str(stopped.value) and "f, row 3" in stopped.value.where


def test_turns_as_json_in_a_cell() -> None:
    cell = '[{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]'
    read = sharegpt.read({"conversations": cell}, "f, row 0", Reading())
    assert [each["content"] for each in read["messages"]] == ["a", "b"]


def test_traces_of_turns_and_of_a_row_with_one_answer() -> None:
    asked, answered = {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}
    reading = Reading()
    rows: list[dict[str, Any]] = [
        {"conversations": [asked, {**answered, "reasoning_content": "why"}]},
        {"conversations": [asked, answered], "reasoning_content": "why"},
    ]
    for row in rows:
        assert sharegpt.read(row, "f, row 0", reading)["messages"][-1]["reasoning_content"] == "why"
    assert not reading.unknown
    read = sharegpt.read({"conversations": [asked, answered] * 2, "reasoning_content": "why"}, "f, row 0", reading)
    assert not any("reasoning_content" in each for each in read["messages"])
    assert reading.unknown == {"reasoning_content": 1}
