"""A request is written as the rows that the model was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.models import chat_template
from pipeline.serving import limits, tool_calls
from pipeline.serving.chat import Chat
from pipeline.serving.constrain import Grammars
from pipeline.serving.protocol import ChatRequest

PARAMETERS = {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}
TOOLS = [{"type": "function", "function": {"name": "clock", "description": "The time", "parameters": PARAMETERS}}]
FUNCTION = {"name": "clock", "arguments": {"zone": "UTC"}}


def _turns(arguments: Any) -> list[dict[str, Any]]:
    call = {"id": "abcdefghi", "type": "function", "function": {**FUNCTION, "arguments": arguments}}
    return [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "12:00"},
    ]


def test_tools_calls_and_results_are_written_as_in_training(tiny_model: Path) -> None:
    template = chat_template.load(tiny_model)
    assert not template.tools  # so that both sides write them as text
    chat = Chat(template, Grammars(template, 300), tool_calls.family(template), limits.of())
    system = {"role": "system", "content": "Be short."}
    for count in (1, 3):
        messages = [system, *_turns('{"zone": "UTC"}')[:count]]
        asked = ChatRequest.model_validate({"model": "m", "messages": messages, "tools": TOOLS, "max_tokens": 5})
        trained = {"uid": "a row", "system": "Be short.", "messages": _turns({"zone": "UTC"})[:count], "tools": TOOLS}
        assert chat.prepare(asked).prompt == template.prompts([trained])[0]


def test_a_forced_call_begins_as_a_trained_one(tiny_model: Path) -> None:
    template = chat_template.load(tiny_model)
    family = tool_calls.family(template)
    assert family is not None
    row = {"uid": "a row", "system": "", "messages": _turns({})[:1], "tools": TOOLS, "output": ""}
    call = {"id": "abcdefghi", "type": "function", "function": FUNCTION}
    assert template.answer_of({**row, "tool_calls": [call]}).startswith(
        f'{family.opening}{{"name": "clock", "arguments"'
    )
