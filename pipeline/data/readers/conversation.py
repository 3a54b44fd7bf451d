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
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import json_stream
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop
from pipeline.models import reasoning

ANSWER_TYPE = "text"  # an answer that is compared verbatim, without a scale
CALL_TYPE = "call"  # calls of tools, which are compared by value

Message = dict[str, Any]
Conversation = dict[str, Any]

_TRAINED = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}  # by a turn's weight
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


def need_json(value: object, where: str, field: str) -> None:
    """Raise Stop for a value that JSON in UTF-8 cannot write: with a lone surrogate, NaN, or such as a date."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            need_writable(each, where, field)
        elif isinstance(each, Mapping):
            left += [*each.keys(), *each.values()]
        elif isinstance(each, list):
            left += each
        elif not (each is None or isinstance(each, int) or (isinstance(each, float) and math.isfinite(each))):
            raise Stop("values that JSON can write", repr(each)[:60], f"{where}, field {field!r}", "fix that row")


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


def is_trained(weights: Collection[object], where: str, field: str) -> bool:
    """Whether a turn with these weights is trained: no weight is 0.

    Raises:
        Stop: a weight other than 0 and 1, as numbers or as text.
    """
    for weight in weights:
        if weight not in (None, "") and str(weight).strip().lower() not in _TRAINED:
            raise Stop("a weight of 0 or 1", repr(weight)[:60], f"{where}, field {field!r}", "fix that row")
    return all(weight in (None, "") or _TRAINED[str(weight).strip().lower()] for weight in weights)


def of_turns(
    asked: str, answered: str, system: str = "", earlier: list[Message] | None = None, names: Sequence[str] = ()
) -> Conversation:
    """A conversation that ends with a question and its answer; `names` are those of their fields."""
    start = [{"role": "system", "content": system}] if system.strip() else []
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    made: Conversation = {"messages": [*start, *(earlier or []), *turns]}
    if names:
        history = [f"history[{number // 2}]" for number in range(len(earlier or []))]
        made["fields"] = ["system"] * len(start) + history + list(names)
    return made


def with_system(messages: list[Message], system: object, where: str) -> list[Message]:
    """Messages that begin with the system message of a row's own field; "" for none.

    Raises:
        Stop: they have another one, or it is no text.
    """
    said = optional(system, where, "system")
    if not said or (messages and (messages[0]["role"], messages[0]["content"]) == ("system", said)):
        return messages
    if any(each["role"] == "system" for each in messages):
        found = "the field 'system', and a system message that differs"
        raise Stop("one system message", found, where, "fix that row")
    return [{"role": "system", "content": said}, *messages]


def checked(conversation: Conversation, where: str, reading: Reading) -> Conversation:
    """The conversation with its reasoning apart from its answers, and without turns after the last answer.

    `fields`, which it may have beside its messages, are the names that their texts have in the file; they are left out.

    Raises:
        Stop: roles out of order, or an assistant turn that says nothing.
    """
    messages: list[Message] = []
    before = ""
    need_json(conversation.get("tools"), where, "tools")
    fields = conversation.get("fields") or [f"messages[{i}].content" for i in range(len(conversation["messages"]))]
    for number, (given, said_in) in enumerate(zip(conversation["messages"], fields, strict=True)):
        message, field = dict(given), said_in.removesuffix(".content").removesuffix(".value")
        role = message["role"]
        need_json(message, where, field)
        if role == "system":
            if number:
                raise Stop("a system message at the start only", "one later", f"{where}, {field}", "fix that row")
        elif before not in _NEEDED_BEFORE[role]:
            wanted = f"{' or '.join(each or 'the start' for each in _NEEDED_BEFORE[role])} before {role}"
            raise Stop(wanted, before or "the start", f"{where}, {field}", "fix that row")
        if role == "assistant":
            _split_reasoning(message, where, said_in, reading)
            if not message.get("tool_calls"):
                text(message["content"], where, said_in, "some text")
        elif role == "user":
            text(message["content"], where, said_in)
        before = "" if role == "system" else role
        messages.append(message)
    while messages and messages[-1]["role"] != "assistant":
        messages.pop()
        reading.notes["turns after the last answer, left out"] += 1
    if not any(_is_trained(each) for each in messages):
        raise Stop("a turn of the assistant to train on", "none", where, "fix that row")
    kept = {key: value for key, value in conversation.items() if key != "fields"}
    return {**kept, "messages": messages}


def _split_reasoning(message: Message, where: str, field: str, reading: Reading) -> None:
    """Move a trace from the content to `reasoning_content`; an empty one is none.

    Raises:
        Stop: a trace without an end, or two that differ.
    """
    turn, dot, _ = field.rpartition(".")
    given = _without_tags(message.pop("reasoning_content", ""), where, f"{turn}{dot}reasoning_content")
    content = message["content"]
    begins = content.lstrip().startswith(reasoning.OPEN)
    if begins and reasoning.CLOSE not in content:
        wanted = f"{reasoning.CLOSE} after a reasoning trace"
        raise Stop(wanted, f"{reasoning.OPEN} alone", f"{where}, field {field!r}", "fix that row")
    trace = ""
    before, closing, _ = content.partition(reasoning.CLOSE)
    if begins or (closing and reasoning.OPEN not in before):
        trace, content = reasoning.split(content)
        if not begins:  # as DeepSeek-R1 writes it, whose prompt has the opening tag
            reading.notes[f"answers with {reasoning.CLOSE} alone, whose text before it is taken as reasoning"] += 1
    if content.count(reasoning.OPEN) != content.count(reasoning.CLOSE):
        reading.notes[f"answers with {reasoning.OPEN} or {reasoning.CLOSE} without the other, left as they are"] += 1
    if given and trace and given != trace:
        found = f"two that differ: reasoning_content, and {reasoning.OPEN} in the content"
        raise Stop("one reasoning trace", found, f"{where}, field {field!r}", "fix that row")
    message["content"] = content
    if trace or given:
        message["reasoning_content"] = trace or given


def _without_tags(trace: str, where: str, field: str) -> str:
    """A reasoning trace without the tags around it."""
    bare = trace.strip().removeprefix(reasoning.OPEN).removesuffix(reasoning.CLOSE).strip()
    if reasoning.CLOSE in bare:  # it would end the trace
        raise Stop(
            "a reasoning trace", f"one with {reasoning.CLOSE} in it", f"{where}, field {field!r}", "fix that row"
        )
    return bare


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
            "answer_type": CALL_TYPE if turn.get("tool_calls") else ANSWER_TYPE,
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
