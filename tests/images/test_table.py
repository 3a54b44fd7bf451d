"""The one table printer."""

from __future__ import annotations

from images import table


def test_columns_are_aligned_and_lines_have_no_trailing_spaces() -> None:
    rows = [("run", "EM", ""), ("quickstart/1", "50.0", "trained"), ("b", "", "")]
    assert table.aligned(rows).splitlines() == [
        "run           EM",
        "quickstart/1  50.0  trained",
        "b",
    ]


def test_no_rows_are_no_text() -> None:
    assert table.aligned([]) == ""
