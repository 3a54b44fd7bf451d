"""TAT-DQA: the documents' blocks become the notes of a context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.readers import tatdqa
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop

QUESTION = {
    "uid": "q1",
    "order": 1,
    "question": "What is the change?",
    "answer": 12,
    "derivation": "112 - 100",
    "answer_type": "arithmetic",
    "scale": "million",
    "req_comparison": False,
    "facts": ["112", "100"],
    "block_mapping": [{"b1": [0, 3]}],
}


def _folder(path: Path, document: Any) -> Path:
    (path / "docs").mkdir(parents=True)
    (path / "docs" / "d1.json").write_text(json.dumps(document))
    return path


def test_blocks_in_reading_order(tmp_path: Path) -> None:
    blocks = [{"uuid": "b2", "text": "112  100", "order": 2}, {"uuid": "b1", "text": "Sales\n2019 2018", "order": 1}]
    folder = _folder(tmp_path, {"pages": [{"bbox": [], "blocks": blocks}]})
    reading = Reading(folder)
    made = tatdqa.read({"doc": {"uid": "d1", "page": 1}, "questions": [QUESTION]}, "f", reading)
    assert [each["text"] for each in made["paragraphs"]] == ["Sales 2019 2018", "112 100"]
    assert made["questions"][0]["derivation"] == "112 - 100"
    assert not reading.unknown


def test_a_missing_or_empty_document_is_refused(tmp_path: Path) -> None:
    row = {"doc": {"uid": "d1"}, "questions": [QUESTION]}
    with pytest.raises(Stop, match=r"d1\.json"):
        tatdqa.read(row, "f", Reading(tmp_path / "none"))
    for number, document in enumerate(({}, {"pages": [{"blocks": [{"text": " "}]}]}, {"pages": 3})):
        with pytest.raises(Stop, match="pages of blocks of text"):
            tatdqa.read(row, "f", Reading(_folder(tmp_path / str(number), document)))


def test_two_documents_of_one_uid_must_be_equal(tmp_path: Path) -> None:
    document = {"pages": [{"blocks": [{"text": "Sales were 112"}]}]}
    folder = _folder(tmp_path, document)
    row = {"doc": {"uid": "d1"}, "questions": [QUESTION]}
    for name, other in (("copy", document), (".hidden", {"pages": []})):
        (folder / name).mkdir()
        (folder / name / "d1.json").write_text(json.dumps(other, indent=1))
        assert tatdqa.read(row, "f", Reading(folder))["paragraphs"][0]["text"] == "Sales were 112"
    (folder / "copy" / "d1.json").write_text(json.dumps({"pages": [{"blocks": [{"text": "Sales were 113"}]}]}))
    with pytest.raises(Stop, match="one document d1") as stopped:
        tatdqa.read(row, "f, row 7", Reading(folder))
    assert "copy/d1.json" in stopped.value.found and "docs/d1.json" in stopped.value.found
