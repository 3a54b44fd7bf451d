"""Raw contexts: which are accepted, and the place of an error in the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Stop
from pipeline.tatqa import schema

Raw = dict[str, Any]


@pytest.mark.parametrize(("split", "contexts", "questions"), [("dev", 278, 1668), ("test_gold", 277, 1663)])
def test_the_official_files_load(mirror: Path, split: str, contexts: int, questions: int) -> None:
    loaded = schema.load(mirror / f"tatqa_dataset_{split}.json")
    assert (len(loaded), sum(len(context.questions) for context in loaded)) == (contexts, questions)


def _with_value(raw: Raw, path: str, value: object) -> Raw:
    *keys, last = path.split(".")
    place: Any = raw
    for key in keys:
        place = place[int(key) if key.isdigit() else key]
    place[int(last) if last.isdigit() else last] = value
    return raw


@pytest.mark.parametrize(
    ("path", "value", "field", "wanted"),
    [
        ("table.table.1", ["only one"], "table.table[1]", "cells, as in the first row"),
        ("table.table", [], "table.table", "at least one cell"),
        ("table.table.0.0", 3, "table.table[0]", "a list of strings"),
        ("table", "x", "table", "an object"),
        ("paragraphs.0.order", "1", "order", "a whole number"),
        ("paragraphs.0.text", None, "text", "a string"),
        ("paragraphs.0.text", "half \ud800", "text", "text that UTF-8 can write"),
        ("table.table.0.0", "half \ud800", "table.table[0]", "text that UTF-8 can write"),
        ("questions.0.scale", "hundred", "scale", "thousand"),
        ("questions.0.scale", None, "scale", "thousand"),
        ("questions.0.answer_type", "guess", "answer_type", "multi-span"),
        ("questions.0.answer", "3", "answer", "a list of strings"),
        ("questions.0.answer", ["a", "b"], "answer", "one string"),
        ("questions.3.answer", [], "answer", "at least one string"),
        ("questions.5.answer", "12", "answer", "a finite number"),
        ("questions.5.answer", float("nan"), "answer", "a finite number"),
        ("questions.5.answer", True, "answer", "a finite number"),
        ("questions.0.uid", 7, "uid", "a string"),
        ("questions", {}, "questions", "a list of questions"),
    ],
)
def test_an_invalid_context_is_refused_with_the_field(
    raw_context: Raw, path: str, value: object, field: str, wanted: str
) -> None:
    with pytest.raises(Stop) as stopped:
        schema.parse([_with_value(raw_context, path, value)], "mine.json")
    assert f"field '{field}'" in stopped.value.where
    assert "mine.json, context 0" in stopped.value.where
    assert wanted in stopped.value.wanted


def test_a_duplicate_uid_is_refused(raw_context: Raw) -> None:
    with pytest.raises(Stop, match="contexts 0 and 1"):
        schema.parse([raw_context, raw_context], "mine.json")


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"\xff[]", b"[" * 100_000, b"[1]", b"null"])
def test_a_file_without_a_list_of_contexts_is_refused(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "raw.json"
    file.write_bytes(body)
    with pytest.raises(Stop, match="raw.json"):
        schema.load(file)


def test_a_missing_field_is_reported_as_nothing(raw_context: Raw) -> None:
    del raw_context["questions"][0]["derivation"]
    with pytest.raises(Stop, match="found: nothing"):
        schema.parse(json.loads(json.dumps([raw_context])), "mine.json")
