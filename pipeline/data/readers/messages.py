"""OpenAI's messages, as its fine-tuning files and Hugging Face's chat templates have them.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}], "tools": [{…}]}

A content may be a list of text parts. An assistant turn may have `tool_calls`, `reasoning_content` and a `weight` of 0,
which leaves it untrained.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.data.readers import conversation
from pipeline.data.readers.conversation import Conversation, Message
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop

FORM = "messages: a list of role and content; optionally tools"

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_KNOWN = {"role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "reasoning", "thinking"}
_WEIGHTS = ("weight", "loss_weight")


def read(record: Mapping[str, Any], where: str, reading: Reading) -> Conversation:
    """The conversation of a row.

    Raises:
        Stop: no list of messages, an unknown role, or a content that is no text.
    """
    reading.see_keys(record, {"messages", "tools", "parallel_tool_calls"})
    made = of_list(record.get("messages"), record.get("tools"), where, "messages")
    for each in record["messages"]:
        reading.see_keys(each, {*_KNOWN, *_WEIGHTS, "function_call"})
    return made


def of_list(given: object, tools: object, where: str, field: str) -> Conversation:
    """The conversation of a list of messages.

    Raises:
        Stop: as `read`.
    """
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        shown = "nothing" if given is None else repr(given)[:60]
        raise Stop("a list of messages", shown, f"{where}, field {field!r}", "fix that row")
    made: Conversation = {"messages": [_message(each, where, f"{field}[{i}]") for i, each in enumerate(given)]}
    if declared := tool_list(tools, where):
        made["tools"] = declared
    return made


def _message(given: Mapping[str, Any], where: str, field: str) -> Message:
    role = given.get("role")
    if role not in _ROLES:
        wanted = f"one of {', '.join(_ROLES)}"
        raise Stop(wanted, repr(role)[:60], f"{where}, field {f'{field}.role'!r}", "fix that row")
    content, thought, called = _parts(given.get("content"), where, f"{field}.content")
    made: Message = {"role": _ROLES[role], "content": content}
    if role == "assistant":
        trace = thought or given.get("reasoning_content") or given.get("reasoning") or given.get("thinking")
        if isinstance(trace, str) and trace.strip():
            made["reasoning_content"] = trace.strip()
        old = [{"function": given["function_call"]}] if given.get("function_call") else []
        calls = given.get("tool_calls") or called or old
        if calls:
            made["tool_calls"] = [tool_call(each, where, f"{field}.tool_calls") for each in calls]
        if any(given.get(name, 1) == 0 for name in _WEIGHTS):
            made["train"] = False
    if role == "tool":
        made |= {name: given[name] for name in ("name", "tool_call_id") if given.get(name)}
    return made


def _parts(content: object, where: str, field: str) -> tuple[str, str, list[Any]]:
    """The text of a content, and the reasoning and the calls of tools among its parts."""
    by_kind: dict[str, list[str]] = {"text": [], "reasoning": [], "tool_call": []}
    parts = content if isinstance(content, list) else [] if content is None else [content]
    for part in parts:
        kind, said = "text", part
        if isinstance(part, dict):
            kind, said = str(part.get("type")), part.get("text", part.get("value"))
        if kind not in by_kind or not isinstance(said, str):
            shown = f"a part of type {kind!r}" if isinstance(part, dict) else repr(part)[:60]
            raise Stop("a text, or a list of text parts", shown, f"{where}, field {field!r}", "fix that row")
        conversation.need_writable(said, where, field)
        by_kind[kind].append(said)
    calls = [tool_call(said, where, field) for said in by_kind["tool_call"]]
    return "\n".join(by_kind["text"]), "\n".join(by_kind["reasoning"]), calls


def tool_call(given: object, where: str, field: str) -> dict[str, Any]:
    """A tool call, an object or JSON of one, with its arguments as an object.

    Raises:
        Stop: no function name, or arguments that are no JSON object.
    """
    if isinstance(given, str):
        with contextlib.suppress(ValueError):
            given = json.loads(given)
    function = given.get("function", given) if isinstance(given, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    arguments = function.get("arguments", {}) if isinstance(function, dict) else None
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError:
            arguments = None
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        wanted = "a function's name and its arguments, a JSON object"
        raise Stop(wanted, repr(given)[:60], f"{where}, field {field!r}", "fix that row")
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    identifier = given.get("id") if isinstance(given, dict) else None
    return {"id": identifier, **call} if identifier else call


def tool_list(tools: object, where: str) -> list[dict[str, Any]]:
    """The tools that a conversation may call, each {"type": "function", "function": {…}}.

    Raises:
        Stop: no list of functions, nor JSON of one.
    """
    if isinstance(tools, str) and tools.strip():
        try:
            tools = json.loads(tools)
        except ValueError:
            raise Stop("tools as JSON", str(tools)[:60], f"{where}, field 'tools'", "fix that row") from None
    if not tools:
        return []
    made = []
    for each in tools if isinstance(tools, list) else [tools]:
        function = each.get("function", each) if isinstance(each, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Stop("a list of functions with a name", repr(each)[:60], f"{where}, field 'tools'", "fix that row")
        made.append({"type": "function", "function": {key: value for key, value in function.items() if key != "type"}})
    return made
