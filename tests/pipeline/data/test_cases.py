"""Small inputs that showed faults (tests/data/cases): each gives the right value, and trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import formatted_rows
from pipeline.errors import Stop
from tests.conftest import ROOT
from tests.steps import RECIPE, fetched_job, format_job, latest, overrides, step

CASES = ROOT / "tests" / "data" / "cases"


def _rows(name: str, *settings: str) -> list[dict[str, Any]]:
    """The training rows of a case."""
    fetched = fetched_job(f"data.source={CASES / name}", *settings)
    format_job(fetched)
    return formatted_rows.read_rows(fetched.train.rows)


@pytest.mark.parametrize("name", ["rows.csv", "array-in.jsonl"])
def test_rows_are_read_by_content(workplace: Path, name: str) -> None:
    first = _rows(name)[0]
    assert first["instruction"] == "Name the figure of item 0.\nItem 0 cost 0,200."
    assert first["output"] == "0,200"


@pytest.mark.parametrize("name", ["sharegpt.json", "openai.json"])
def test_conversations_are_read(workplace: Path, name: str) -> None:
    rows = _rows(name)
    assert (rows[0]["instruction"], rows[0]["output"]) == ("Name the figure of item 0.", "0,200")
    assert len(rows) == 11


def test_history_is_part_of_the_conversation_and_counted(workplace: Path) -> None:
    fetched = fetched_job(f"data.source={CASES / 'history-alpaca.json'}")
    report, output = format_job(fetched)
    first, second = formatted_rows.read_rows(fetched.train.rows)[:2]
    assert (first["instruction"], first["output"]) == ("Which item?", "Item 0")
    assert [each["content"] for each in second["messages"][:2]] == ["Which item?", "Item 0"]
    assert (report["train"]["questions"], report["train"]["turns"]) == (22, 11)
    assert "later turns" in output


def test_numbers_are_read_as_their_text(workplace: Path) -> None:
    assert [row["output"] for row in _rows("number-output.json")[:3]] == ["0.0", "1.5", "3.0"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("first-row-without-output.json", "row 0 (line 1), field 'output'"),
        ("trailing-comma.json", "nothing after the comma at line 1, column 1172"),
        ("tatqa-no-answers.json", "no question has one"),
    ],
)
def test_what_cannot_be_read_is_named(workplace: Path, name: str, message: str) -> None:
    with pytest.raises(Stop) as stopped:
        fetched_job(f"data.source={CASES / name}")
    assert message in str(stopped.value)
    assert "a table is missing" not in str(stopped.value)
    if name == "tatqa-no-answers.json":
        assert "test_gold" in stopped.value.todo
    if name == "first-row-without-output.json":
        assert "in a file of alpaca: instruction, output" in stopped.value.wanted
    if name == "trailing-comma.json":
        text = (CASES / name).read_text()
        assert text[1171] == "," and text[1172:].lstrip().startswith("]")


def test_copies_stay_in_one_split(workplace: Path) -> None:
    fetched = fetched_job(f"data.source={CASES / 'duplicates.jsonl'}")
    train, heldout = (set(split.raw.read_text().splitlines()) for split in fetched.splits)
    assert train and heldout and not train & heldout


def test_control_tokens_of_data_are_text(workplace: Path) -> None:
    from pipeline.models import chat_template

    template = chat_template.load(Path("models/tiny"))
    for name in ("special-tokens.jsonl", "chatml.jsonl"):
        rows = _rows(name)
        assert any("<|im_end|>" in row["instruction"] + row["output"] for row in rows)
        for row, answer in zip(rows, template.answers(rows), strict=True):
            assert answer[-1] == template.ends[0]
            assert template.ends[0] not in answer[:-1]
            assert template.tokenizer.decode(answer[:-1]) == row["output"]


def test_counterfactual_and_absent_uids(workplace: Path) -> None:
    first = _rows("tatqa-counterfactual.json", "data.target=equation")[0]
    assert (first["answer"], first["answer_type"]) == ("1440", "arithmetic")
    rows = _rows("tatqa-no-uid.json", "data.target=answer")
    assert len({row["context"] for row in rows}) == 3 and rows[0]["output"] == "$1,200 million"


@pytest.mark.parametrize("name", ["tatqa-zh.json", "tatqa-zh-fullwidth-brackets.json"])
def test_a_chinese_report(workplace: Path, name: str) -> None:
    first = _rows(name, "data.language=zh", "data.target=equation")[0]
    assert "(300)" in first["output"] or "（300）" in first["output"]
    assert "(300) - 1200" in first["output"]
    assert "百万元" in first["output"] and "美元" not in first["output"] + first["system"]


@pytest.mark.parametrize(
    "name", ["history-alpaca.json", "sharegpt.json", "openai.json", "rows.csv", "array-in.jsonl", "number-output.json"]
)
def test_two_steps_of_training(workplace: Path, name: str) -> None:
    Path("tiny.toml").write_text(RECIPE)
    words = overrides(f"data.source={CASES / name}", "training.epochs=1", "data.train_contexts=2")
    for stage in ("fetch", "format", "train"):
        assert step(stage, *words) == 0
    lines = [json.loads(line) for line in (latest() / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and all(line["loss"] > 0 for line in lines)
