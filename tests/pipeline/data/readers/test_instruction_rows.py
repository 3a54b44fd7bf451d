"""Rows of instruction, input and output: read from JSON lines, and refused with line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.readers import instruction_rows
from pipeline.errors import Stop


def test_each_row_is_a_context_with_the_fields_of_evaluation(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('\ufeff{"instruction": "a", "output": "β"}\n\n{"instruction": "", "input": "c", "output": "d"}\n')
    first, second = instruction_rows.read(file, "train")
    assert first == {
        "instruction": "a",
        "input": "",
        "output": "β",
        "system": "",
        "uid": "train-1",
        "context": "train-1",
        "answer": '["β"]',
        "answer_type": instruction_rows.ANSWER_TYPE,
        "answer_from": "text",
        "scale": "",
    }
    assert (second["uid"], second["input"]) == ("train-3", "c")  # the number of the line


def test_rows_before_a_malformed_one_are_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_bytes(b'{"instruction": "a", "output": "b"}\n\xff\n')
    rows = instruction_rows.read(file, "train")
    assert next(rows)["output"] == "b"
    with pytest.raises(Stop, match=r"mine\.jsonl, line 2"):
        next(rows)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="No such file"):
        list(instruction_rows.read(tmp_path / "mine.jsonl", "train"))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ([], "list: []"),
        ({"output": "b"}, "field 'instruction'"),
        ({"instruction": "a", "output": ""}, "field 'output'"),
        ({"instruction": "a", "output": "b", "system": None}, "field 'system'"),
    ],
)
def test_a_row_that_lacks_a_text_is_refused(item: object, message: str) -> None:
    with pytest.raises(Stop) as stopped:
        instruction_rows.row(item, "mine.json, row 3", "u")
    assert message in str(stopped.value)
    assert "mine.json, row 3" in stopped.value.where
