"""Conversations: the one form that every reader of rows makes, and that the raw splits of such a source hold.

A line of a raw split has OpenAI's messages, and tools if the conversation may call some:

    {"messages": [{"role": "system", "content": "Be brief."},
                  {"role": "user", "content": "…"},
                  {"role": "assistant", "content": "…", "reasoning_content": "…"}],
     "tools": [{"type": "function", "function": {"name": "lookup", "parameters": {…}}}]}

Every assistant turn is trained, and answered in evaluation with the true turns before it; `"train": false` on a turn
(OpenAI's `weight` of 0) keeps it as context alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import json_stream
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop
from pipeline.models import reasoning

ANSWER_TYPE = "text"  # an answer that is compared verbatim, without a scale

Message = dict[str, Any]
Conversation = dict[str, Any]

_NEEDED_BEFORE = {"user": ("", "assistant"), "assistant": ("user", "tool"), "tool": ("assistant", "tool")}


def read(path: Path) -> Iterator[Conversation]:
    """The conversations of a raw split.

    Raises:
        Stop: no such file, or not as the import wrote it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for _, conversation in json_stream.objects(file, path):
                yield conversation
    except OSError as error:
        raise Stop("a raw split", error.strerror or str(error), str(path), "invoke fetch") from None


def text(value: object, where: str, field: str, wanted: str = "a text") -> str:
    """A text that is not empty.

    Raises:
        Stop: anything else; names the row and the field.
    """
    if not isinstance(value, str) or not value.strip():
        shown = "nothing" if value is None or value == "" else repr(value)[:60]
        raise Stop(wanted, shown, f"{where}, field {field!r}", "fix that row")
    need_writable(value, where, field)
    return value


def need_writable(value: str, where: str, field: str) -> None:
    """Raise Stop for a lone surrogate, which JSON can write and UTF-8 cannot."""
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        raise Stop("text that UTF-8 can write", "half a surrogate pair", f"{where}, field {field!r}", "fix that row")


def optional(value: object, where: str, field: str) -> str:
    """A text that may be empty or absent.

    Raises:
        Stop: something else than text.
    """
    return "" if value is None or (isinstance(value, str) and not value.strip()) else text(value, where, field)


def answer(value: object, where: str, field: str, reading: Reading) -> str:
    """An answer's text; a number is written as JSON writes it, and counted.

    Raises:
        Stop: as `text`.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        reading.notes["answers that are numbers, taken as their text"] += 1
        return json.dumps(value)
    return text(value, where, field, "some text")


def of_turns(asked: str, answered: str, system: str = "", earlier: list[Message] | None = None) -> Conversation:
    """A conversation that ends with a question and its answer."""
    start = [{"role": "system", "content": system}] if system.strip() else []
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return {"messages": [*start, *(earlier or []), *turns]}


def checked(conversation: Conversation, where: str, reading: Reading) -> Conversation:
    """The conversation with its reasoning apart from its answers, and without turns after the last answer.

    Raises:
        Stop: roles out of order, or an assistant turn that says nothing.
    """
    messages: list[Message] = []
    before = ""
    for number, given in enumerate(conversation["messages"]):
        message, field = dict(given), f"messages[{number}]"
        role = message["role"]
        if role == "system":
            if number:
                raise Stop("a system message at the start only", "one later", f"{where}, {field}", "fix that row")
        elif before not in _NEEDED_BEFORE[role]:
            wanted = f"{' or '.join(each or 'the start' for each in _NEEDED_BEFORE[role])} before {role}"
            raise Stop(wanted, before or "the start", f"{where}, {field}", "fix that row")
        if role == "assistant":
            _split_reasoning(message)
            if not message.get("tool_calls"):
                text(message["content"], where, f"{field}.content", "some text")
        elif role == "user":
            text(message["content"], where, f"{field}.content")
        before = "" if role == "system" else role
        messages.append(message)
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
        reading.notes["turns after the last answer, left out"] += 1
    if not any(_is_trained(each) for each in messages):
        raise Stop("a turn of the assistant to train on", "none", where, "fix that row")
    return {**conversation, "messages": messages}


def _split_reasoning(message: Message) -> None:
    """Move a <think> part from the content to `reasoning_content`; an empty one is none."""
    if not message.get("reasoning_content"):
        message.pop("reasoning_content", None)
        if message["content"].lstrip().startswith("<think>"):
            thought, message["content"] = reasoning.split(message["content"])
            if thought:
                message["reasoning_content"] = thought


def _is_trained(message: Message) -> bool:
    return bool(message["role"] == "assistant" and message.get("train", True))


def question(conversation: Conversation) -> str:
    """What is asked, to compare with others: every turn but the last answer and the system message."""
    turns = [each for each in conversation["messages"][:-1] if each["role"] != "system"]
    return turns[0]["content"] if len(turns) == 1 else json.dumps(turns, sort_keys=True)


def rows(conversation: Conversation, uid: str) -> list[dict[str, Any]]:
    """A row for each turn that is trained, with the fields that evaluation needs; `messages` are those before it.

    A row of one question and one answer has no `messages`: its instruction is all that is asked.
    """
    messages = conversation["messages"]
    places = [i for i, each in enumerate(messages) if _is_trained(each)]
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    made = []
    for place in places:
        turn, before = messages[place], messages[:place]
        row = {
            "instruction": next(each["content"] for each in reversed(before) if each["role"] in ("user", "tool")),
            "input": "",
            "output": turn["content"],
            "system": system,
            "uid": uid if len(places) == 1 else f"{uid}.{place}",
            "context": uid,
            "answer": json.dumps([turn["content"]], ensure_ascii=False),
            "answer_type": ANSWER_TYPE,
            "answer_from": "text",
            "scale": "",
        }
        if len(before) > 1 + bool(system) or "tools" in conversation:
            row["messages"] = [{key: value for key, value in each.items() if key != "train"} for each in before]
        for name, value in (("tools", conversation.get("tools")), ("tool_calls", turn.get("tool_calls"))):
            if value:
                row[name] = value
        if turn.get("reasoning_content"):
            row["reasoning"] = turn["reasoning_content"]
        made.append(row)
    return made
