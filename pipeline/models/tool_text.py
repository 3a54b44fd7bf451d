"""Tools as plain text, for chat templates that have no form for them: Hermes' tags around JSON.

The system message lists the tools, one a line. A call is a line of an answer, and the results are the next user turn:

    <tool_call>{"name": "convert_currency", "arguments": {"amount": 5, "from": "EUR", "to": "USD"}}</tool_call>
    <tool_response>{"amount": 5.4}</tool_response>
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import jinja2

OPEN, CLOSE = "<tool_call>", "</tool_call>"

Message = dict[str, Any]

_BEFORE = "You have these functions, one a line, with the JSON Schema of their arguments:"
_AFTER = f"""To call one, write a line such as this, with its name and arguments; otherwise answer in words:
{OPEN}{{"name": "a_function", "arguments": {{"an_argument": 1}}}}{CLOSE}"""


def is_written_by(tokenizer: Any) -> bool:
    """Whether a tokenizer's template has a form of its own: for the tools, the calls of a turn, and their results."""
    parameters = {"type": "object", "properties": {"wantedkey": {"type": "string", "description": "?"}}}
    tool = {"type": "function", "function": {"name": "name", "description": "?", "parameters": parameters}}
    call = {"type": "function", "function": {"name": "name", "arguments": {"key": "wantedvalue"}}}
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "123456789", **call}]},  # nine, as Mistral's needs
        {"role": "tool", "content": "wantedresult", "name": "name", "tool_call_id": "123456789"},
    ]
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False, tools=[tool]))
    except (jinja2.TemplateError, TypeError, ValueError):
        return False
    return all(each in text for each in ("wantedkey", "wantedvalue", "wantedresult"))


def system(said: str, tools: Sequence[dict[str, Any]]) -> str:
    """A system message that also lists the tools."""
    if not tools:
        return said
    lines = "\n".join(_compact(tool["function"]) for tool in tools)
    return "\n\n".join([*([said] if said else []), f"{_BEFORE}\n<tools>\n{lines}\n</tools>\n{_AFTER}"])


def turn(content: str, calls: Sequence[dict[str, Any]]) -> str:
    """An assistant turn: its words, if any, then a line for each call."""
    return "\n".join([*([content] if content.strip() else []), *map(_call, calls)])


def turns(messages: Sequence[Message]) -> list[Message]:
    """Messages in which calls are text, and the results of a turn are one user turn, in the order of the calls."""
    made: list[Message] = []
    results: list[Message] = []
    calls: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] == "tool":
            results.append(message)
            continue
        made += _results(results, calls)
        results, calls = [], message.get("tool_calls") or []
        rest = {key: value for key, value in message.items() if key != "tool_calls"}
        made.append({**rest, "content": turn(message["content"], calls)} if calls else rest)
    return [*made, *_results(results, calls)]


def _results(results: list[Message], calls: list[dict[str, Any]]) -> list[Message]:
    if not results:
        return []
    order = [call.get("id") for call in calls]
    # the text has no ids, so the order tells which result is whose
    if all(order) and all(each.get("tool_call_id") in order for each in results):
        results = sorted(results, key=lambda each: order.index(each["tool_call_id"]))
    lines = (f"<tool_response>{each['content']}</tool_response>" for each in results)
    return [{"role": "user", "content": "\n".join(lines)}]


def _call(call: dict[str, Any]) -> str:
    function = call["function"]
    said = {"name": function["name"], "arguments": function.get("arguments", {})}
    return f"{OPEN}{json.dumps(said, ensure_ascii=False)}{CLOSE}"


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
