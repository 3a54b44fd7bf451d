"""The calls of tools in a model's text: read, checked against the tools, and compared by value.

Read are Hermes' form (`<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Qwen, Hermes, Pintune's text form), and a
text that is nothing but a call or a list of calls, after the marks of Mistral, Llama and Phi. Arguments may be named
`parameters`, as Llama does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import json_stream
from pipeline.models import tool_schema
from pipeline.models.tool_text import CLOSE, OPEN

_MARKS = ("[TOOL_CALLS]", "<|tool_call|>", "<|python_tag|>")  # Mistral's, Phi-4-mini's, Llama 3.1's
_LIKE_A_CALL = re.compile(r'\[?\s*\{\s*"(?:name|type|function)"\s*:')


@dataclass(frozen=True)
class Call:
    """A call as a model wrote it, or the `problem` that it cannot be read for."""

    name: str
    arguments: dict[str, Any]
    problem: str = ""


def read(text: str) -> list[Call]:
    """The calls in a text, broken ones too; empty for words alone."""
    if OPEN in text:
        return [call for block in text.split(OPEN)[1:] for call in _block(block)]
    bare = text.strip()
    mark = next((mark for mark in _MARKS if bare.startswith(mark)), "")
    bare = bare.removeprefix(mark).removesuffix("<|/tool_call|>").strip()
    return _of_json(bare) if mark or _LIKE_A_CALL.match(bare) else []


def given(calls: Sequence[dict[str, Any]]) -> list[Call]:
    """The calls of a formatted row."""
    return [Call(each["function"]["name"], each["function"].get("arguments", {})) for each in calls]


def problem(call: Call, tools: Sequence[dict[str, Any]]) -> str:
    """Why a call is not valid: broken, to a function that is not among the tools, or with wrong arguments; else "".

    Without tools, any call that can be read is valid.
    """
    if call.problem or not tools:
        return call.problem
    named = [tool["function"] for tool in tools if tool["function"]["name"] == call.name]
    if not named:
        return f"no function {call.name!r}"
    return tool_schema.problem(call.arguments, named[0].get("parameters") or {})


def same_functions(calls: Sequence[Call], others: Sequence[Call]) -> bool:
    """Whether both call the same functions, each as often; in any order."""
    return sorted(each.name for each in calls) == sorted(each.name for each in others)


def same(calls: Sequence[Call], others: Sequence[Call]) -> bool:
    """Whether both are the same calls by value (1 is 1.0, the order of keys and of calls is free), each as often."""
    if any(each.problem for each in (*calls, *others)):
        return False
    return sorted(map(_key, calls)) == sorted(map(_key, others))


def _key(call: Call) -> tuple[str, str]:
    return call.name, json.dumps(_value(call.arguments), sort_keys=True)


def _value(value: Any) -> Any:
    """A JSON value with each whole number as an integer; true stays apart from 1, and "1" too."""
    if isinstance(value, dict):
        return {key: _value(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_value(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _block(text: str) -> list[Call]:
    """The call after an opening tag, and no words after it."""
    inside, closing, _ = text.partition(CLOSE)
    return _of_json(inside.strip()) if closing else [Call("", {}, f"{OPEN} without {CLOSE}")]


def _of_json(text: str) -> list[Call]:
    try:
        value = json_stream.parse(text)
    except ValueError as error:
        return [Call("", {}, f"not JSON: {str(error).splitlines()[0][:80]}")]
    listed = value if isinstance(value, list) else [value]
    return [_call(each) for each in listed] or [Call("", {}, "an empty list of calls")]


def _call(value: Any) -> Call:
    function = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name:
        return Call("", {}, "a call without a function's name")
    arguments = function.get("arguments", function.get("parameters"))
    if not isinstance(arguments, dict):
        return Call(name, {}, "a call without arguments, a JSON object")
    return Call(name, arguments)
