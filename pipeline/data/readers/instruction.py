"""Rows of one instruction and its answer: Stanford Alpaca's form and Databricks Dolly's.

    {"instruction": "Name the figure.", "input": "Sales were 1,200.", "output": "1,200",
     "system": "Be brief.", "history": [["Which year?", "2019"]]}
    {"instruction": "Name the figure.", "context": "Sales were 1,200.", "response": "1,200", "category": "closed_qa"}

`input`, `system` and `history` (LLaMA Factory's: earlier questions and answers) may be absent. A
`reasoning_content` of a row is the trace before its answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.data.readers import conversation, messages
from pipeline.data.readers.conversation import Conversation, Message
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop

ALPACA = "alpaca: instruction, output; optionally input, system, history"
DOLLY = "dolly: instruction, response; optionally context"


def alpaca(record: Mapping[str, Any], where: str, reading: Reading) -> Conversation:
    """The conversation of an alpaca row.

    Raises:
        Stop: a field is missing, or holds something else than text.
    """
    reading.see_keys(record, {"instruction", "input", "output", "system", "history", *messages.TRACES})
    return _conversation(record, where, reading, "input", "output")


def dolly(record: Mapping[str, Any], where: str, reading: Reading) -> Conversation:
    """The conversation of a dolly row.

    Raises:
        Stop: as `alpaca`.
    """
    reading.see_keys(record, {"instruction", "context", "response", "category", "system", "history", *messages.TRACES})
    return _conversation(record, where, reading, "context", "response")


def _conversation(record: Mapping[str, Any], where: str, reading: Reading, more: str, answer: str) -> Conversation:
    added = conversation.optional(record.get(more), where, more)
    asked = conversation.optional(record.get("instruction"), where, "instruction")
    if not (asked.strip() or added.strip()):
        raise Stop("an instruction", "nothing", f"{where}, field 'instruction'", "fix that row")
    answered = conversation.answer(record.get(answer), where, answer, reading)
    system = conversation.optional(record.get("system"), where, "system")
    names = ("instruction", answer)
    made = conversation.of_turns(f"{asked}\n{added}".strip(), answered, system, _earlier(record, where), names)
    return messages.with_row_trace(made, record, where, reading)


def _earlier(record: Mapping[str, Any], where: str) -> list[Message]:
    turns: list[Message] = []
    history = messages.listed(record.get("history"), "a list of [question, answer]", where, "history") or []
    if not isinstance(history, list):
        raise Stop("a list of [question, answer]", repr(history)[:60], f"{where}, field 'history'", "fix that row")
    for number, pair in enumerate(history):
        field = f"history[{number}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise Stop("[question, answer]", repr(pair)[:60], f"{where}, field {field!r}", "fix that row")
        for role, said in zip(("user", "assistant"), pair, strict=True):
            turns.append({"role": role, "content": conversation.text(said, where, field)})
    return turns
