"""OpenAI's messages, as its fine-tuning files and Hugging Face's chat templates have them.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}], "tools": [{…}]}

A content may be a list of text parts. An assistant turn may have `tool_calls`, `reasoning_content` and a `weight` of 0,
which leaves it untrained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline import json_stream
from pipeline.data.readers import conversation
from pipeline.data.readers.conversation import Conversation, Message
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop

FORM = "messages: a list of role and content; optionally tools"

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",  # OpenAI's old name
}
TRACES = ("reasoning_content", "reasoning", "thinking")
_WEIGHTS = ("weight", "loss_weight")
_KEYS = frozenset(("role", "content", *_WEIGHTS))
_KEYS_OF = {
    "assistant": frozenset(("tool_calls", "function_call", *TRACES)),
    "tool": frozenset(("name", "tool_call_id")),
}
_OF_PART = ("text", "value", "thinking", "reasoning")  # where a part of a reasoning trace has its text


def read(record: Mapping[str, Any], where: str, reading: Reading) -> Conversation:
    """The conversation of a row.

    Raises:
        Stop: no list of messages, an unknown role, or a content that is no text.
    """
    tools = "tools" if record.get("tools") else "functions"  # OpenAI's old name
    reading.see_keys(record, {"messages", tools, "parallel_tool_calls"})
    return of_list(record.get("messages"), record.get(tools), where, "messages", reading)


def of_list(given: object, tools: object, where: str, field: str, reading: Reading) -> Conversation:
    """The conversation of a list of messages; keys of theirs that are not read are counted.

    Raises:
        Stop: as `read`.
    """
    given = listed(given, "a list of messages", where, field)
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        shown = "nothing" if given is None else repr(given)[:60]
        raise Stop("a list of messages", shown, f"{where}, field {field!r}", "fix that row")
    made: Conversation = {"messages": [_message(each, where, f"{field}[{i}]") for i, each in enumerate(given)]}
    for each, message in zip(given, made["messages"], strict=True):
        reading.see_keys(each, _KEYS | _KEYS_OF.get(message["role"], frozenset()))
    if declared := tool_list(tools, where):
        made["tools"] = declared
    return made


def _message(given: Mapping[str, Any], where: str, field: str) -> Message:
    role = given.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        wanted = f"one of {', '.join(_ROLES)}"
        raise Stop(wanted, repr(role)[:60], f"{where}, field {f'{field}.role'!r}", "fix that row")
    content, thought, called = _parts(given.get("content"), where, f"{field}.content")
    made: Message = {"role": _ROLES[role], "content": content}
    if role == "assistant":
        if trace := _trace(given, thought, where, f"{field}."):
            made["reasoning_content"] = trace
        if calls := [*called, *_calls(given, where, f"{field}.tool_calls")]:
            made["tool_calls"] = calls
        if not conversation.is_trained([given.get(name) for name in _WEIGHTS], where, f"{field}.weight"):
            made["train"] = False
    if made["role"] == "tool":
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


def trace_of_turn(turn: Mapping[str, Any], where: str, field: str) -> str:
    """The reasoning of a turn that has it in a key of its own; "" for none.

    Raises:
        Stop: no text and no list of texts, or two that differ.
    """
    return _trace(turn, "", where, f"{field}.")


def with_row_trace(made: Conversation, record: Mapping[str, Any], where: str, reading: Reading) -> Conversation:
    """The conversation with the reasoning that its row has in a column of its own, which is that of the last answer.

    Raises:
        Stop: as `trace_of_turn`; also if the answer has another one.
    """
    if not (trace := _trace(record, "", where, "")) or made["messages"][-1]["role"] != "assistant":
        return made
    last = made["messages"][-1]
    if last.get("reasoning_content", trace) != trace:
        raise Stop("one reasoning trace", "one of the row and another of the last answer", where, "fix that row")
    name = next(name for name in TRACES if record.get(name))
    reading.notes[f"reasoning traces, from the column {name!r}"] += 1
    return {**made, "messages": [*made["messages"][:-1], {**last, "reasoning_content": trace}]}


def _trace(given: Mapping[str, Any], thought: str, where: str, prefix: str) -> str:
    """The reasoning of a turn: that of its content's parts, or of one of its keys; "" for none.

    Raises:
        Stop: no text and no list of texts, or two that differ.
    """
    traces = [thought, *(_joined(given.get(name), where, f"{prefix}{name}") for name in TRACES)]
    found = list(dict.fromkeys(trace.strip() for trace in traces if trace.strip()))
    if len(found) > 1:
        place = f"{where}, field {prefix[:-1]!r}" if prefix else where
        raise Stop("one reasoning trace", f"{len(found)} that differ", place, "fix that row")
    return found[0] if found else ""


def _joined(value: object, where: str, field: str) -> str:
    """A reasoning trace that is a text, a part with one, or a list of these."""
    texts = []
    for part in value if isinstance(value, list) else [] if value is None else [value]:
        said = next((part[key] for key in _OF_PART if key in part), None) if isinstance(part, dict) else part
        if not isinstance(said, str):
            wanted = "a text, or a list of text parts"
            raise Stop(wanted, repr(value)[:60], f"{where}, field {field!r}", "fix that row")
        texts.append(said)
    return "\n".join(texts)


def _calls(given: Mapping[str, Any], where: str, field: str) -> list[dict[str, Any]]:
    """The calls of tools of a turn; `function_call` is OpenAI's old form of a single one.

    Raises:
        Stop: no list, or as `tool_call`.
    """
    calls = given.get("tool_calls") or []
    if not isinstance(calls, list):
        raise Stop("a list of calls", repr(calls)[:60], f"{where}, field {field!r}", "fix that row")
    old = [{"function": given["function_call"]}] if given.get("function_call") else []
    return [tool_call(each, where, field) for each in (*calls, *old)]


def tool_call(given: object, where: str, field: str) -> dict[str, Any]:
    """A tool call, an object or JSON of one, with its arguments as an object.

    Raises:
        Stop: no function name, or arguments that are no JSON object.
    """
    if isinstance(given, str):
        given = of_json(given, "a tool call as JSON", where, field)
    function = given.get("function", given) if isinstance(given, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    arguments = function.get("arguments", {}) if isinstance(function, dict) else None
    if isinstance(arguments, str):
        arguments = of_json(arguments or "{}", "a call's arguments as JSON", where, field)
    if not isinstance(name, str) or not name or not isinstance(arguments, dict):
        wanted = "a function's name and its arguments, a JSON object"
        raise Stop(wanted, repr(given)[:60], f"{where}, field {field!r}", "fix that row")
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    identifier = given.get("id") if isinstance(given, dict) else None
    return {"id": identifier, **call} if identifier else call


def listed(given: object, wanted: str, where: str, field: str) -> object:
    """A list that is JSON in a text, as in a cell of CSV; anything else as it is.

    Raises:
        Stop: a text that begins like a list, and is no JSON.
    """
    if isinstance(given, str) and given.lstrip().startswith("["):
        return of_json(given, f"{wanted}, as JSON", where, field)
    return given


def of_json(given: str, wanted: str, where: str, field: str) -> Any:
    """The value of a field that has JSON as its text.

    Raises:
        Stop: as `json_stream.parse`.
    """
    try:
        return json_stream.parse(given)
    except ValueError as error:
        found = f"{str(error)[:80]}: {given[:60]!r}"
        raise Stop(wanted, found, f"{where}, field {field!r}", "fix that row") from None


def tool_list(tools: object, where: str) -> list[dict[str, Any]]:
    """The tools that a conversation may call, each {"type": "function", "function": {…}}.

    Raises:
        Stop: no list of functions, nor JSON of one.
    """
    if isinstance(tools, str) and tools.strip():
        tools = of_json(tools, "tools as JSON", where, "tools")
    if not tools:
        return []
    made = []
    for each in tools if isinstance(tools, list) else [tools]:
        function = each.get("function", each) if isinstance(each, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise Stop("a list of functions with a name", repr(each)[:60], f"{where}, field 'tools'", "fix that row")
        made.append({"type": "function", "function": {key: value for key, value in function.items() if key != "type"}})
    return made
