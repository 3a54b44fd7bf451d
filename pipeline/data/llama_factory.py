"""dataset_info.json, by which LLaMA Factory (0.9.5, data/README.md) opens the rows as alpaca and sharegpt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Row = dict[str, Any]


def sharegpt(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """The rows of a context as conversations: one a row, but one for all the turns of a conversation."""
    for row in rows if not any("messages" in row for row in rows) else rows[-1:]:
        turns = [turn for each in _messages(row) for turn in _turns(each)]
        tools = {"tools": json.dumps([each["function"] for each in row["tools"]])} if row.get("tools") else {}
        yield {"conversations": turns, "system": row["system"], **tools}


def _messages(row: Row) -> list[dict[str, Any]]:
    """All messages of a row; LLaMA Factory joins the instruction and input of an alpaca row in the same way."""
    asked = "\n".join(part for part in (row["instruction"], row["input"]) if part)
    before = row.get("messages") or [{"role": "user", "content": asked}]
    calls = {"tool_calls": row["tool_calls"]} if row.get("tool_calls") else {}
    return [*before, {"role": "assistant", "content": row["output"], **calls}]


def _turns(message: dict[str, Any]) -> Iterator[dict[str, str]]:
    if calls := message.get("tool_calls"):
        functions = [call["function"] for call in calls]
        value = json.dumps(functions[0] if len(functions) == 1 else functions, ensure_ascii=False)
        yield {"from": "function_call", "value": value}
    elif message["role"] != "system":
        said = {"user": "human", "assistant": "gpt", "tool": "observation"}[message["role"]]
        yield {"from": said, "value": message["content"]}


def dataset_info(source: str, splits: Iterable[str], turns: bool = False) -> dict[str, Any]:
    """Two data sets a split, SOURCE_SPLIT and SOURCE_SPLIT_sharegpt; of conversations with `turns` the second alone."""
    info: dict[str, Any] = {}
    for split in splits:
        alpaca = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
        if not turns:
            info[f"{source}_{split}"] = {"file_name": f"{split}.jsonl", "columns": alpaca}
        info[f"{source}_{split}_sharegpt"] = {
            "file_name": f"{split}-sharegpt.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "system": "system", **({"tools": "tools"} if turns else {})},
        }
    return info
