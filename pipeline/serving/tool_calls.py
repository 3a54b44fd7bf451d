"""Tool calls in a model's text: each family of models writes them in a form of its own, which its chat template shows.

    hermes   <tool_call>\\n{"name": "f", "arguments": {…}}\\n</tool_call>            Hermes, Qwen
    mistral  [TOOL_CALLS][{"name": "f", "arguments": {…}}]                        also [TOOL_CALLS]f[ARGS]{…}
    phi4     <|tool_call|>[{"name": "f", "arguments": {…}}]<|/tool_call|>         Phi-4

A template without tools gets the text form in which rows with tools train it (pipeline/models/tool_text.py).
"""

from __future__ import annotations

import json
import secrets
import string
from dataclasses import dataclass
from typing import Any

from pipeline.models import tool_text
from pipeline.models.chat_template import ChatTemplate

_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Family:
    """How models of a family write calls."""

    name: str
    begin: str  # comes before a call
    opening: str  # what a forced call is begun with
    end: str  # comes after the calls
    as_list: bool  # whether all calls are one JSON list


HERMES = Family("hermes", "<tool_call>", "<tool_call>\n", "</tool_call>", False)
PLAIN = Family("plain", tool_text.OPEN, tool_text.OPEN, tool_text.CLOSE, False)
MISTRAL = Family("mistral", "[TOOL_CALLS]", "[TOOL_CALLS]", "", True)
PHI4 = Family("phi4", "<|tool_call|>", "<|tool_call|>", "<|/tool_call|>", True)


@dataclass(frozen=True)
class Call:
    """One call."""

    name: str
    arguments: dict[str, Any]


def family(template: ChatTemplate) -> Family | None:
    """The family of a model, by its chat template; None if that has a form for tools that is not known here."""
    source = template.tokenizer.chat_template
    text = source if isinstance(source, str) else json.dumps(source)
    if "<|tool|>" in text or "<|tool_call|>" in text:
        return PHI4  # reads the tools from the system message alone
    if not template.tools:
        return PLAIN
    if "[TOOL_CALLS]" in text:
        return MISTRAL
    return HERMES if "<tool_call>" in text and "<function=" not in text else None


def parse(text: str, of: Family, names: set[str]) -> list[Call]:
    """The calls in a text that begins where `of.begin` does; [] unless all of them are calls of known tools."""
    if of.as_list:
        found = _listed(text.removeprefix(of.begin), of)
    else:
        parts = [part.partition(of.end)[0] for part in text.split(of.begin)[1:]]
        found = [_json(part) for part in parts]
    calls = [_call(each) for each in found]
    known = [call for call in calls if call and call.name in names]
    return known if len(known) == len(found) else []


def _listed(text: str, of: Family) -> list[Any]:
    text = text.partition(of.end)[0] if of.end else text
    if "[ARGS]" in text:
        parts = [part.partition("[ARGS]") for part in text.split(of.begin)]
        # a call ID may come between name and arguments
        named = [(name.partition("[CALL_ID]")[0].strip(), _json(body)) for name, _, body in parts]
        return [{"name": name, "arguments": body} for name, body in named]
    found = _json(text)
    return found if isinstance(found, list) else [found]


def _json(text: str) -> Any:
    """The JSON value that a text begins with, None for none."""
    try:
        return json.JSONDecoder().raw_decode(text.strip())[0]
    except (ValueError, RecursionError):
        return None


def _call(value: Any) -> Call | None:
    value = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(value, dict):
        return None
    name, arguments = value.get("name"), value.get("arguments", value.get("parameters"))
    return Call(name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else None


def new_id() -> str:
    """An ID of a call: nine letters and digits, as Mistral's templates demand it."""
    return "".join(secrets.choice(_LETTERS) for _ in range(9))
