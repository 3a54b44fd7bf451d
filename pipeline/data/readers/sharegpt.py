"""ShareGPT's conversations, with the roles that LLaMA Factory adds for tools.

{"conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}], "system": "…", "tools": "[…]"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.data.readers import conversation, messages
from pipeline.data.readers.conversation import Conversation, Message
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop

FORM = "sharegpt: conversations, a list of from and value; optionally system, tools"

_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function_response": "tool",
    "tool": "tool",
}


def read(record: Mapping[str, Any], where: str, reading: Reading) -> Conversation:
    """The conversation of a row.

    Raises:
        Stop: no list of turns, an unknown role, or a value that is no text.
    """
    name = "conversations" if "conversations" in record else "conversation"
    turns = messages.listed(record.get(name), "a list of from and value", where, name)
    if not isinstance(turns, list) or not all(isinstance(each, dict) for each in turns):
        shown = "nothing" if turns is None else repr(turns)[:60]
        raise Stop("a list of from and value", shown, f"{where}, field {name!r}", "fix that row")
    made = [_message(each, where, f"{name}[{i}]") for i, each in enumerate(turns)]
    for each, message in zip(turns, made, strict=True):
        traces = messages.TRACES if message["role"] == "assistant" else ()
        reading.see_keys(each, {"from", "value", "role", "content", "weight", *traces})
    whole = conversation.with_system(made, record.get("system"), where)
    fields = ["system"] * (len(whole) - len(made)) + [f"{name}[{i}].value" for i in range(len(made))]
    read_: Conversation = {"messages": whole, "fields": fields}
    one = sum(each["role"] == "assistant" for each in made) == 1  # else a row's trace may be of any turn
    reading.see_keys(record, {name, "system", "tools", *(messages.TRACES if one else ())})
    if one:
        read_ = messages.with_row_trace(read_, record, where, reading)
    if tools := messages.tool_list(record.get("tools"), where):
        read_["tools"] = tools
    return read_


def _message(given: Mapping[str, Any], where: str, field: str) -> Message:
    said = given.get("from", given.get("role"))
    if not isinstance(said, str) or said not in _ROLES:
        wanted = f"one of {', '.join(_ROLES)}"
        raise Stop(wanted, repr(said)[:60], f"{where}, field {f'{field}.from'!r}", "fix that row")
    value = conversation.optional(given.get("value", given.get("content")), where, f"{field}.value")
    made: Message = {"role": _ROLES[said], "content": value}
    if said == "function_call":
        calls = messages.of_json(value, 'a call as JSON: {"name", "arguments"}', where, f"{field}.value")
        listed = calls if isinstance(calls, list) else [calls]
        made |= {"content": "", "tool_calls": [messages.tool_call(each, where, f"{field}.value") for each in listed]}
    if made["role"] == "assistant" and (trace := messages.trace_of_turn(given, where, field)):
        made["reasoning_content"] = trace
    if not conversation.is_trained([given.get("weight")], where, f"{field}.weight"):
        made["train"] = False
    return made
