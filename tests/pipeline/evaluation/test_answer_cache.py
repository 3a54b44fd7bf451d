"""The answer cache: answers survive a kill, and answers of another model do not count."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.evaluation.answer_cache import AnswerCache


def test_answers_are_on_disk_as_soon_as_they_are_added(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    cache = AnswerCache(file, {"adapter": "1"})
    assert cache.texts() == {}
    cache.add({"a": "12 百万美元", "b": ""})
    cache.add({"c": "two\u2028lines\n"})
    assert AnswerCache(file, {"adapter": "1"}).texts() == {"a": "12 百万美元", "b": "", "c": "two\u2028lines\n"}


def test_a_truncated_last_line_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    AnswerCache(file, {}).add({"a": "1", "b": "2"})
    file.write_text(file.read_text()[:-4])
    resumed = AnswerCache(file, {})
    assert resumed.texts() == {"a": "1"}
    resumed.add({"b": "3"})
    assert [json.loads(line) for line in file.read_text().splitlines()][1:] == [
        {"uid": "a", "text": "1"},
        {"uid": "b", "text": "3"},
    ]


def test_a_file_of_another_model_is_started_over(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    AnswerCache(file, {"adapter": "1"}).add({"a": "1"})
    assert AnswerCache(file, {"adapter": "2"}).texts() == {}
    assert AnswerCache(file, {"adapter": "1"}).texts() == {}  # the first file is gone
    file.write_bytes(b"\xff\n")
    assert AnswerCache(file, {"adapter": "1"}).texts() == {}
