"""dataset_info.json, by which LLaMA Factory (0.9.5, data/README.md) opens the rows as alpaca and sharegpt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def sharegpt(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a conversation; LLaMA Factory joins the instruction and input of an alpaca row in the same way."""
    asked = "\n".join(part for part in (row["instruction"], row["input"]) if part)
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": row["output"]}]
    return {"conversations": turns, "system": row["system"]}


def dataset_info(source: str, splits: Iterable[str]) -> dict[str, Any]:
    """Two data sets a split, SOURCE_SPLIT and SOURCE_SPLIT_sharegpt."""
    info: dict[str, Any] = {}
    for split in splits:
        alpaca = {"prompt": "instruction", "query": "input", "response": "output", "system": "system"}
        info[f"{source}_{split}"] = {"file_name": f"{split}.jsonl", "columns": alpaca}
        info[f"{source}_{split}_sharegpt"] = {
            "file_name": f"{split}-sharegpt.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "system": "system"},
        }
    return info
