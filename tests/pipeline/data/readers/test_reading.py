"""What a file brings to light: all faults up to ten, unknown keys and notes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop
from pipeline.json_stream import Placed


def _fault(number: int) -> Stop:
    return Stop("some text", "nothing", f"f, line {number}", "fix that row")


def test_one_fault_is_raised_as_it_is_and_several_together() -> None:
    reading = Reading()
    reading.need_none("alpaca", "f")
    reading.add_fault(_fault(1))
    with pytest.raises(Stop) as stopped:
        reading.need_none("alpaca", "f")
    assert stopped.value.where == "f, line 1"
    assert stopped.value.wanted == "some text, in a file of alpaca"
    for number in range(2, 14):
        reading.add_fault(_fault(number))
    with pytest.raises(Stop) as stopped:
        reading.need_none("alpaca", "f")
    assert stopped.value.found.startswith("13 rows that are not:\n  f, line 1: ")
    assert "f, line 10:" in stopped.value.found and "f, line 11:" not in stopped.value.found
    assert stopped.value.found.endswith("and 3 more")


def test_unknown_keys_with_something_in_them_are_counted() -> None:
    reading = Reading()
    for row in ({"a": 1, "b": 2, "c": None}, {"a": 1, "b": 3, "d": ""}):
        reading.see_keys(row, {"a"})
    assert list(reading.lines()) == ["keys that are not used, with the rows that have them: b (2)"]


def test_where_a_file_ends_too_early_is_a_fault_among_others() -> None:
    def rows() -> Iterator[Placed]:
        yield "f, row 0", 1
        raise _fault(7)

    reading = Reading()
    reading.add_fault(_fault(1))
    assert list(reading.until_broken(rows())) == [("f, row 0", 1)]
    assert [fault.where for fault in reading.faults] == ["f, line 1", "f, line 7"]
