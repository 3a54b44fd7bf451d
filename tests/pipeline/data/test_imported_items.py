"""Imported items on disk: in order, and questions about one table in one context."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.data.imported_items import ImportedItems
from pipeline.data.readers.tatqa import MADE_UP


def _context(uid: str, question: str, note: str = "n") -> dict[str, Any]:
    notes = [{"order": 1, "text": note}]
    return {"table": {"uid": uid, "table": [["a"]]}, "paragraphs": notes, "questions": [{"uid": question}]}


def _noted(uid: str, orders: list[int], **question: Any) -> dict[str, Any]:
    notes = [{"order": order, "text": f"note {number}"} for number, order in enumerate(orders)]
    return {"table": {"uid": "t", "table": [["a"]]}, "paragraphs": notes, "questions": [{"uid": uid, **question}]}


def test_a_merged_question_refers_to_the_same_paragraphs(tmp_path: Path) -> None:
    refers = {"rel_paragraphs": ["8", "9"], "mappings": [{"paragraph_9": [0, 2]}, {"table": [1, 1]}]}
    with ImportedItems(tmp_path) as items:
        assert not items.add_context("", "row 0", _noted("q0", [1, 2], rel_paragraphs=["2"]))
        assert items.add_context("", "row 1", _noted("q1", [8, 9], **refers))
        assert items.add_context("", "row 2", _noted("q2", [1, 2], rel_paragraphs=["1"]))
        assert not items.add_context("", "row 3", _noted("q3", [3, 3]))  # which of the two is meant is unknown
        merged, other = (item for _, _, item in items)
    assert [each["rel_paragraphs"] for each in merged["questions"]] == [["2"], ["1", "2"], ["1"]]
    assert merged["questions"][1]["mappings"] == [{"paragraph_2": [0, 2]}, {"table": [1, 1]}]
    assert other["questions"][0]["uid"] == "q3"


def test_a_copy_without_a_uid_of_its_own_is_left_out_and_counted(tmp_path: Path) -> None:
    with ImportedItems(tmp_path) as items:
        items.add_context("", "row 0", _context("t", f"{MADE_UP}a"))
        assert items.add_context("", "row 1", _context("t", f"{MADE_UP}a"))
        assert items.add_context("", "row 2", _context("t", f"{MADE_UP}b"))
        assert not items.add_context("heldout", "row 3", _context("t", f"{MADE_UP}a"))
        assert items.copies == 1
        assert [[each["uid"][-1] for each in item["questions"]] for _, _, item in items] == [["a", "b"], ["a"]]


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
