"""OpenAI's messages, with tools, parts, reasoning and weights."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.data.readers import messages
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop

CALL = {"id": "c1", "type": "function", "function": {"name": "rate", "arguments": '{"pair": "EUR"}'}}
TOOL = {"type": "function", "function": {"name": "rate", "parameters": {"type": "object"}}}


def test_roles_parts_reasoning_and_weights() -> None:
    reading = Reading()
    row = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": "c", "weight": 0, "reasoning_content": " why "},
            {"role": "user", "content": "d", "name": "me", "mood": "good"},
            {"role": "assistant", "content": [{"type": "reasoning", "value": "so"}, {"type": "text", "value": "e"}]},
        ],
        "source": "x",
    }
    assert messages.read(row, "f, row 0", reading) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "a\nb"},
            {"role": "assistant", "content": "c", "reasoning_content": "why", "train": False},
            {"role": "user", "content": "d"},
            {"role": "assistant", "content": "e", "reasoning_content": "so"},
        ]
    }
    assert dict(reading.unknown) == {"source": 1, "name": 1, "mood": 1}


def test_openais_old_form_of_tools_is_read() -> None:
    reading = Reading()
    row = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": None, "function_call": {"name": "rate", "arguments": '{"pair": "EUR"}'}},
            {"role": "function", "name": "rate", "content": "1.1"},
            {"role": "assistant", "content": "1.1"},
        ],
        "functions": [TOOL["function"]],
    }
    read = messages.read(row, "f, row 0", reading)
    assert read["messages"][1]["tool_calls"][0]["function"] == {"name": "rate", "arguments": {"pair": "EUR"}}
    assert read["messages"][2] == {"role": "tool", "name": "rate", "content": "1.1"}
    assert (read["tools"], dict(reading.unknown)) == ([TOOL], {})


@pytest.mark.parametrize(
    "given",
    [
        {"reasoning": ["why", "so"]},
        {"reasoning_content": [{"type": "text", "text": "why"}, {"type": "text", "text": "so"}]},
        {"thinking": [{"type": "thinking", "thinking": "why\nso"}], "reasoning": "why\nso\n"},
    ],
)
def test_reasoning_may_be_a_list(given: dict[str, Any]) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", **given}]
    read = messages.read({"messages": turns}, "f, row 0", Reading())
    assert read["messages"][1]["reasoning_content"] == "why\nso"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"reasoning": 5},
            "wanted: a text, or a list of text parts\n found: 5\n where: f, row 0, field 'mess",
        ),
        ({"reasoning": [{"type": "image"}]}, "messages[0].reasoning"),
        ({"reasoning": "why", "thinking": "so"}, "found: 2 that differ"),
    ],
)
def test_reasoning_that_is_no_text_or_is_there_twice_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        messages.read({"messages": [{"role": "assistant", "content": "b", **given}]}, "f, row 0", Reading())
    assert message in str(stopped.value)


@pytest.mark.parametrize(
    ("weight", "kept"),
    [(0, False), ("0", False), (0.0, False), (False, False), (1, True), ("1.0", True), (None, True), ("", True)],
)
def test_a_weight_of_0_leaves_a_turn_untrained(weight: object, kept: bool) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": weight}]
    read = messages.read({"messages": turns}, "f, row 0", Reading())
    assert read["messages"][1].get("train", True) is kept


@pytest.mark.parametrize("weight", [0.5, "0.5", -1, [0], "no"])
def test_a_weight_between_is_refused(weight: object) -> None:
    with pytest.raises(Stop, match="wanted: a weight of 0 or 1\n.*\n where: f, row 0, field 'messages\\[0\\].weight'"):
        messages.read({"messages": [{"role": "assistant", "content": "b", "weight": weight}]}, "f, row 0", Reading())


@pytest.mark.parametrize("tools", [[TOOL], [TOOL["function"]], '[{"name": "rate", "parameters": {"type": "object"}}]'])
def test_tools_and_their_calls_are_kept(tools: Any) -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "1.1"},
        {"role": "assistant", "content": "1.1"},
    ]
    read = messages.read({"messages": turns, "tools": tools}, "f, row 0", Reading())
    assert read["tools"] == [TOOL]
    assert read["messages"][1]["tool_calls"][0]["function"] == {"name": "rate", "arguments": {"pair": "EUR"}}
    assert read["messages"][2] == {"role": "tool", "content": "1.1", "tool_call_id": "c1"}
    part = {"type": "tool_call", "value": '{"name": "rate", "arguments": {"pair": "EUR"}}'}
    turns[1] = {"role": "assistant", "content": [part]}
    again = messages.read({"messages": turns, "tools": tools}, "f, row 0", Reading())
    assert again["messages"][1]["tool_calls"][0]["function"] == {"name": "rate", "arguments": {"pair": "EUR"}}


def _called(calls: object) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": "", "tool_calls": calls}]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "field 'messages'"),
        ({"messages": ["a"]}, "a list of messages"),
        ({"messages": [{"role": "poet", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "a part of type 'image_url'"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": "", "tool_calls": [{"function": {}}]}]}, "tool_calls"),
        ({"messages": [], "tools": "[{"}, "tools as JSON"),
        ({"messages": [], "tools": '[{"name": "f", "name": "g"}]'}, "'name' twice in one object"),
        ({"messages": [], "tools": [{"name": ""}]}, "a list of functions with a name"),
        ({"messages": [{"role": ["user"], "content": "a"}]}, "found: ['user']"),
        (_called(5), "wanted: a list of calls\n found: 5\n where: f, row 3, field 'messages[0].tool_calls'"),
        (_called({"name": "f"}), "a list of calls"),
        (_called([5]), "a function's name"),
        (_called(["rate()"]), "a tool call as JSON"),
        (_called([{"name": "f", "arguments": '{"a": NaN}'}]), "found: NaN, which JSON does not have"),
        (_called([{"name": "f", "arguments": '{"a": 1, "a": 2}'}]), "'a' twice in one object"),
        (_called([{"name": "f", "arguments": "[" * 100_000}]), "nested too deeply"),
        ({"messages": [], "tools": [{"parameters": {}}]}, "a list of functions with a name"),
    ],
)
def test_what_is_no_message_is_refused_by_field(row: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        messages.read(row, "f, row 3", Reading())
    assert message in str(stopped.value) and "f, row 3" in stopped.value.where


def test_messages_as_json_in_a_cell() -> None:
    cell = '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'
    read = messages.read({"messages": cell}, "f, row 0", Reading())
    assert [each["content"] for each in read["messages"]] == ["a", "b"]
    with pytest.raises(Stop, match="a list of messages, as JSON"):
        messages.read({"messages": cell.replace('"', "'")}, "f, row 0", Reading())
