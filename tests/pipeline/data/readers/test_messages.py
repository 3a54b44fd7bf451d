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
    assert dict(reading.unknown) == {"source": 1, "mood": 1}


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
        ({"messages": [], "tools": [{"parameters": {}}]}, "a list of functions with a name"),
    ],
)
def test_what_is_no_message_is_refused_by_field(row: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        messages.read(row, "f, row 3", Reading())
    assert message in str(stopped.value) and "f, row 3" in stopped.value.where
