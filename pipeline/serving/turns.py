"""The turns of a chat request as a row, which the chat template writes as evaluate's rows."""

from __future__ import annotations

import json
from typing import Any

from pipeline.serving.protocol import ChatRequest, Message, Refusal


def row(request: ChatRequest) -> dict[str, Any]:
    """A request's system text and messages.

    Raises:
        Refusal: a system message after another one, no turn to answer, or a call's arguments are not a JSON object.
    """
    first = next((i for i, each in enumerate(request.messages) if not _is_system(each)), len(request.messages))
    turns = request.messages[first:]
    if any(map(_is_system, turns)):
        raise Refusal(400, "messages: a system message after another one", "invalid_value", "messages")
    if not turns or turns[-1].role == "assistant":
        raise Refusal(400, "messages: the last one must be the user's or a tool's", "invalid_value", "messages")
    system = "\n\n".join(each.text for each in request.messages[:first])
    return {"system": system, "messages": [_turn(each) for each in turns]}


def _is_system(message: Message) -> bool:
    return message.role in ("system", "developer")


def _turn(message: Message) -> dict[str, Any]:
    """A turn as chat templates take it.

    Raises:
        Refusal: a call's arguments are not a JSON object.
    """
    if message.role == "tool":
        return {"role": "tool", "content": message.text, "tool_call_id": message.tool_call_id or ""}
    if not message.tool_calls:
        return {"role": message.role, "content": message.text}
    calls = [
        {"name": call.function.name, "arguments": _arguments(call.function.arguments)} for call in message.tool_calls
    ]
    listed = [
        {"id": call.id, "type": "function", "function": each}
        for call, each in zip(message.tool_calls, calls, strict=True)
    ]
    return {"role": "assistant", "content": message.text, "tool_calls": listed}


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refusal(400, "messages: arguments of a tool call that are not a JSON object", None, "messages")
    return found
