"""dataset_info.json, by which LLaMA Factory opens the formatted files."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.data import llama_factory
from tests.steps import fetched_job, format_job


def test_dataset_info_lists_every_file(workplace: Path) -> None:
    fetched = fetched_job()
    format_job(fetched)
    folder = fetched.formatted
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info.keys() == {f"sample_{split}{form}" for split in ("train", "heldout") for form in ("", "_sharegpt")}
    for entry in info.values():
        lines = [json.loads(line) for line in (folder / entry["file_name"]).read_text().splitlines()]
        assert all(column in lines[0] for column in entry["columns"].values())
    alpaca, chat = (
        json.loads((folder / name).read_text().splitlines()[0]) for name in ("train.jsonl", "train-sharegpt.jsonl")
    )
    assert chat["conversations"] == [
        {"from": "human", "value": f"{alpaca['instruction']}\n{alpaca['input']}"},
        {"from": "gpt", "value": alpaca["output"]},
    ]


def test_instruction_and_input_are_joined_without_empty_lines() -> None:
    row = {"instruction": "Answer", "input": "", "output": "3", "system": "Be brief."}
    assert list(llama_factory.sharegpt([row])) == [
        {
            "conversations": [{"from": "human", "value": "Answer"}, {"from": "gpt", "value": "3"}],
            "system": "Be brief.",
        }
    ]


def test_a_conversation_is_one_entry_with_its_tools() -> None:
    call = {"type": "function", "function": {"name": "rate", "arguments": {}}}
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "1.1"},
    ]
    first = {
        "instruction": "a",
        "input": "",
        "output": "<call>",
        "system": "",
        "tools": [call],
        "messages": messages[:1],
    }
    last = {**first, "instruction": "1.1", "output": "It is 1.1.", "messages": messages}
    (entry,) = llama_factory.sharegpt([first, last])
    assert [turn["from"] for turn in entry["conversations"]] == ["human", "function_call", "observation", "gpt"]
    assert json.loads(entry["tools"]) == [call["function"]]
    info = llama_factory.dataset_info("mine", ["train"], turns=True)
    assert list(info) == ["mine_train_sharegpt"] and info["mine_train_sharegpt"]["columns"]["tools"] == "tools"
