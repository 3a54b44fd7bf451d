"""A file of every form, as people have it, through fetch, format and two steps of training."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import formatted_rows
from tests.pipeline.models.test_chat_template import TOOLS
from tests.steps import RECIPE, fetched_job, latest, overrides, step

CALL = {"name": "rate", "arguments": {"pair": "EUR"}}
TOOL = {"type": "function", "function": {"name": "rate", "parameters": {"type": "object", "properties": {}}}}


def _table(number: int) -> list[list[str]]:
    """A table with too few figures to be like another one."""
    return [["", "2019", "2018"], ["Sales", "1,200", "1,100"], [f"Row {number}", "", ""]]


def _rows(make: Callable[[int], dict[str, Any]]) -> str:
    return "\n".join(json.dumps(make(number)) for number in range(5))


def _finqa(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"p{number}", "pre_text": ["in millions ."], "post_text": [], "table": _table(number), **more}


FORMS: dict[str, Callable[[int], dict[str, Any]]] = {
    "dolly": lambda i: {
        "instruction": f"Sales {i}?",
        "context": f"Sales were {i}.",
        "response": str(i),
        "category": "qa",
    },
    "prompt-completion": lambda i: {"prompt": f"Sales {i}?", "completion": str(i)},
    "prompts-as-messages": lambda i: {
        "prompt": [{"role": "user", "content": f"Sales {i}?"}],
        "completion": [{"role": "assistant", "content": str(i)}],
    },
    "messages-with-tools": lambda i: {
        "messages": [
            {"role": "user", "content": f"The rate of day {i}?"},
            {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": CALL}]},
            {"role": "tool", "content": "1.1"},
            {"role": "assistant", "content": f"1.1 on day {i}."},
        ],
        "tools": [TOOL],
    },
    "sharegpt-with-tools": lambda i: {
        "conversations": [
            {"from": "human", "value": f"The rate of day {i}?"},
            {"from": "function_call", "value": json.dumps(CALL)},
            {"from": "observation", "value": "1.1"},
            {"from": "gpt", "value": f"1.1 on day {i}."},
        ],
        "tools": json.dumps([TOOL["function"]]),
    },
    "reasoning before calls": lambda i: {
        "messages": [
            {"role": "user", "content": f"The rate of day {i}?"},
            {"role": "assistant", "content": None, "reasoning": f"Look up {i}.", "tool_calls": [{"function": CALL}]},
        ],
        "tools": [TOOL],
    },
    "reasoning": lambda i: {
        "messages": [
            {"role": "user", "content": f"Sales {i}?"},
            {"role": "assistant", "content": f"<think>\nIt says {i}.\n</think>\n\n{i}"},
        ]
    },
    "one-question-a-context": lambda i: {"table": _table(i), "question": f"Sales {i}?", "answer": ["1,200"]},
    "finqa": lambda i: _finqa(
        i, qa={"question": "the change ?", "program": "subtract(1200, 1100)", "exe_ans": 100.0, "answer": "100"}
    ),
    "convfinqa": lambda i: _finqa(
        i,
        annotation={
            "dialogue_break": ["sales ?", "and before ?"],
            "turn_program": ["1200", "1100"],
            "exe_ans_list": [1200.0, 1100.0],
        },
    ),
}


def _train(source: str, capsys: pytest.CaptureFixture[str], *settings: str) -> list[dict[str, Any]]:
    """Two steps of training; returns the training rows."""
    Path("tiny.toml").write_text(RECIPE)
    words = overrides(f"data.source={source}", "training.epochs=1", "data.train_contexts=2", *settings)
    for stage in ("fetch", "format", "train"):
        assert step(stage, *words) == 0, capsys.readouterr()
    lines = [json.loads(line) for line in (latest() / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and all(line["loss"] > 0 for line in lines)
    return formatted_rows.read_rows(next(Path("data").glob("*/en-*/train.jsonl")))


@pytest.mark.parametrize("form", FORMS)
def test_each_form_trains(workplace: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("models/tiny/chat_template.jinja").write_text(TOOLS)
    Path("mine.txt").write_text(_rows(FORMS[form]))
    rows = _train("mine.txt", capsys)
    if "tools" in form:
        assert [row["output"] for row in rows[:2]] == [f"<call>{json.dumps(CALL)}</call>", "1.1 on day 0."]
    if form == "reasoning before calls":
        call, trace = f"<call>{json.dumps(CALL)}</call>", "<think>\nLook up 0.\n</think>\n\n"
        assert (rows[0]["output"], json.loads(rows[0]["answer"])) == (trace + call, [call])
        _train("mine.txt", capsys, "data.reasoning=mask")
        found = [formatted_rows.read_rows(each)[0] for each in Path("data").glob("*/en-*/train.jsonl")]
        assert sorted(row.get("masked", 0) for row in found) == [0, len(trace)]
    if form == "reasoning":
        assert rows[0]["output"] == "<think>\nIt says 0.\n</think>\n\n0" and rows[0]["answer"] == '["0"]'
        masked = _train("mine.txt", capsys, "data.reasoning=mask")
        assert {row["output"] for row in masked} == {row["output"] for row in rows}
    if form == "finqa":
        assert "equation: 1200 - 1100" in rows[0]["output"]


@pytest.mark.parametrize("kind", ["csv.gz", "tsv in GB18030", "parquet", "data set", "folder", "columns"])
def test_each_container_trains(workplace: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    import datasets

    rows = [{"instruction": f"报告 {i}，营业收入是多少？", "output": f"{i}，全年合计"} for i in range(12)]
    whole, source, settings = datasets.Dataset.from_list(rows), "./mine.x", []
    if kind == "csv.gz" or kind.startswith("tsv"):
        with Path("mine.x").open("w", encoding="gb18030" if "GB" in kind else "utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if "tsv" in kind else ",")
            writer.writeheader()
            writer.writerows(rows)
        if kind == "csv.gz":
            Path("mine.x").write_bytes(gzip.compress(Path("mine.x").read_bytes()))
    elif kind == "parquet":
        whole.to_parquet("mine.x")
    elif kind == "data set":
        datasets.DatasetDict({"train": whole, "validation": whole.select([0, 1])}).save_to_disk("mine.x")
    elif kind == "folder":
        Path("mine.x").mkdir()
        Path("mine.x/train.jsonl").write_text("\n".join(map(json.dumps, rows)))
        Path("mine.x/dev.jsonl").write_text("\n".join(map(json.dumps, rows[:2])))
    else:
        named = [{"frage": row["instruction"], "antwort": row["output"]} for row in rows]
        Path("mine.x").write_text("\n".join(map(json.dumps, named)))
        settings = ['data.columns={instruction="frage", output="antwort"}']
    read = _train(source, capsys, *settings)
    assert read[0]["instruction"] == "报告 0，营业收入是多少？" and read[0]["output"] == "0，全年合计"
    held_out = len(fetched_job(f"data.source={source}", *settings).evaluation.raw.read_text().splitlines())
    assert (len(read), held_out) == ((12, 2) if kind in ("data set", "folder") else (11, 1))


def test_a_folder_of_tatdqa_trains(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("dqa/docs").mkdir(parents=True)
    questions = [
        {"uid": "q", "order": 1, "question": "Sales?", "answer": ["1,200"], "answer_type": "span", "scale": ""}
    ]
    for split, count in (("train", 3), ("dev", 1)):
        docs = [f"{split}{number}" for number in range(count)]
        items = [{"doc": {"uid": doc}, "questions": [{**questions[0], "uid": f"q-{doc}"}]} for doc in docs]
        Path(f"dqa/tatdqa_dataset_{split}.json").write_text(json.dumps(items))
        for doc in docs:
            blocks = [{"text": f"Sales of {doc} were 1,200", "order": 1}]
            Path(f"dqa/docs/{doc}.json").write_text(json.dumps({"pages": [{"blocks": blocks}]}))
    rows = _train("./dqa", capsys)
    assert len(rows) == 3 and "Sales of train0 were 1,200" in rows[0]["input"]


def test_a_path_with_any_characters(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("a [b]*? 'c' \"d\" ,é:\n$(e)")
    folder.mkdir()
    (folder / "my [data].json").write_text(_rows(FORMS["prompt-completion"]))
    assert _train(str(folder / "my [data].json"), capsys)[0]["output"] == "0"
