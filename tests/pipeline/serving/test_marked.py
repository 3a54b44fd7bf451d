"""Evidence marked in a table and its notes."""

from __future__ import annotations

import io

import pytest

from pipeline.serving.marked import BRACKETS, NONE, STYLED, Evidence, mark_of, printable, shown
from pipeline.tatqa.schema import Context

CONTEXT = Context(
    "c",
    (("", "2019", "2018"), ("Sales", "$ 1,200", "56.7"), ("Other", "44.1", "56.7"), ("Growth (Note 4)", "4", "156.7")),
    ((1, "Net sales (in millions). Other grew by 56.7 percent, and 156.7 before."), (2, "Leeds and Lyon were sold.")),
    (),
)


def _marked(*evidence: Evidence) -> tuple[list[list[str]], list[str], list[str]]:
    table, notes, lacking = shown(CONTEXT, evidence, BRACKETS)
    return [line.split("  ") for line in table.splitlines()], notes, lacking


def test_a_table_is_aligned_whatever_is_marked() -> None:
    plain, _, _ = shown(CONTEXT)
    bare = [line.replace(STYLED.begin, "").replace(STYLED.end, "") for line in plain.splitlines()]
    styled, _, _ = shown(CONTEXT, [Evidence("44.1", "44.1"), Evidence("Sales", "Sales")], STYLED)
    assert "\x1b[1;4m44.1\x1b[0m" in styled and "\x1b[1;4mSales\x1b[0m" in styled
    assert styled.replace(STYLED.begin, "").replace(STYLED.end, "").splitlines() == bare
    assert plain.splitlines()[2] == "Other               44.1   56.7"


def test_a_name_says_which_of_equal_cells_is_meant() -> None:
    table, notes, lacking = shown(CONTEXT, [Evidence("56.7", "Other 2018: 56.7")], BRACKETS)
    assert table.count("[56.7]") == 1 and "[56.7]" in table.splitlines()[2] and not lacking
    assert "[" not in "".join(notes)  # the table has it
    without, _, _ = shown(CONTEXT, [Evidence("56.7", "56.7")], BRACKETS)
    assert without.count("[56.7]") == 2 and "[156.7]" not in without


def test_a_part_of_a_cell_and_words_of_a_note_are_marked() -> None:
    table, notes, lacking = shown(CONTEXT, [Evidence("1,200", "Sales 2019: 1,200")], BRACKETS)
    assert "$ [1,200]" in table and not lacking
    table, notes, lacking = shown(CONTEXT, [Evidence("leeds", "leeds"), Evidence("Leeds and Lyon", "")], BRACKETS)
    assert notes[1] == "[Leeds and Lyon] were sold." and "[" not in table and not lacking


@pytest.mark.parametrize("item", ["44", "4.1", "200", "Birmingham", "Other 2020", ""])
def test_evidence_that_nothing_has_is_named(item: str) -> None:
    table, notes, lacking = shown(CONTEXT, [Evidence(item, item)], BRACKETS)
    assert lacking == [item] and "[" not in table + "".join(notes)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_brackets_where_a_terminal_has_no_styles_or_a_person_wants_none() -> None:
    assert mark_of(_Terminal(), {"TERM": "xterm"}) == STYLED
    assert mark_of(_Terminal(), {"TERM": "xterm", "NO_COLOR": ""}) == STYLED  # empty: as not set
    for stream, environment in (
        (_Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}),
        (_Terminal(), {"TERM": "dumb"}),
        (_Terminal(), {}),
        (io.StringIO(), {"TERM": "xterm"}),
    ):
        assert mark_of(stream, environment) == BRACKETS


def test_no_text_steers_the_terminal() -> None:
    assert printable("a\x1b[2Jb\rc\nd\te") == "a\ufffd[2Jb\ufffdc\nd\te"
    evil = Context("c", (("", "20\x1b[2J19"), ("Sa\x07les", "1")), ((1, "\x9b2J"),), ())
    table, notes, _ = shown(evil, [Evidence("1", "1")], NONE)
    assert "\x1b" not in table and "\x07" not in table and notes == ["\ufffd2J"]
