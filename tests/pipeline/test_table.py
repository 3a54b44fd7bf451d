"""Plain-text tables."""

from __future__ import annotations

from pipeline import table


def test_columns_are_aligned_to_their_widest_cell() -> None:
    rows = [("", "train", "dev"), ("questions", "1,668", "7"), ("a", "2")]
    assert table.render(rows).splitlines() == ["           train  dev", "questions  1,668    7", "a              2"]


def test_a_gap_may_be_wider_and_no_line_ends_in_spaces() -> None:
    assert table.render([("a", "b"), ("long", "")], gap=4) == "a       b\nlong"
    assert table.render([]) == ""
