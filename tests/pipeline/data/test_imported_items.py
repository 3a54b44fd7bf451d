"""Imported items on disk: in order, and questions about one table in one context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.data.imported_items import ImportedItems


def _context(uid: str, question: str, note: str = "n") -> dict[str, Any]:
    notes = [{"order": 1, "text": note}]
    return {"table": {"uid": uid, "table": [["a"]]}, "paragraphs": notes, "questions": [{"uid": question}]}


def test_questions_about_one_table_are_merged_within_a_split(tmp_path: Path) -> None:
    with ImportedItems(tmp_path) as items:
        assert not items.add_context("", "row 0", _context("t", "q0"))
        assert not items.add_context("", "row 1", _context("u", "q1"))
        assert items.add_context("", "row 2", _context("t", "q2"))
        assert not items.add_context("", "row 3", _context("t", "q3", note="another"))
        assert not items.add_context("", "row 4", _context("t", "q0"))  # a copy, not another question
        assert not items.add_context("train", "row 5", _context("t", "q5"))
        found = [(split, place, [each["uid"] for each in item["questions"]]) for split, place, item in items]
        assert found == [
            ("", "row 0", ["q0", "q2"]),
            ("", "row 1", ["q1"]),
            ("", "row 3", ["q3"]),
            ("", "row 4", ["q0"]),
            ("train", "row 5", ["q5"]),
        ]
        assert items.count == 5
    assert list(tmp_path.iterdir()) == []
