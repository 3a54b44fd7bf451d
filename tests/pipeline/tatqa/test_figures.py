"""Figures of a context: their digits, their names, and reading an item without its name."""

from __future__ import annotations

from decimal import Decimal

import pytest

from pipeline.tatqa import figures, prompt, schema, target

ROWS = [["", "2019", "2018"], ["Spare parts", "$1,552", "(38,179)"], ["Parts", "7", "8.5"]]
TABLE = "Spare parts 2019: $1,552 | Spare parts 2018: (38,179)\nParts 2019: 7 | Parts 2018: 8.5"


@pytest.mark.parametrize(
    ("cell", "digits"),
    [("$1,552", "1552"), ("(38,179)", "38179"), ("8.5%", "8.5"), ("2019 total", None), ("１２", None), ("", None)],
)
def test_a_cell_that_is_one_figure_has_digits(cell: str, digits: str | None) -> None:
    assert figures.number(cell) == (None if digits is None else Decimal(digits))


def test_a_figure_of_a_note_ends_before_the_comma_of_its_sentence() -> None:
    found = figures.by_digits(["7"], ["In 2017, it was 1,234.5, as of 2016; or $9."])
    assert list(found.values()) == ["$9", "2016", "1,234.5", "2017", "7"]


@pytest.mark.parametrize(
    ("note", "named"),
    [
        ("In 2017, inventories for Spare parts were 21,408.", ["Spare parts 2017: 21,408"]),
        ("Other income fell. Parts came to $8.1 in 2017; it rose later.", ["Parts 2017: $8.1"]),
        ("2017年Parts为300。", ["Parts 2017: 300"]),
        ("In 2017, Parts were 4.1 and 4.2.", []),  # which of the two
        ("From 2016 to 2017, Parts rose by 4.1.", []),  # which year
        ("In 2017, inventories were 4.1.", []),  # which row
        ("Parts and Spare parts were 4.1 in 2017.", []),
        ("Partsby Inc. was founded in 2017 by 12 people.", []),
    ],
)
def test_a_figure_of_a_note_has_a_name_if_its_sentence_leaves_no_doubt(note: str, named: list[str]) -> None:
    rows = ROWS if "Parts" not in note or "and" in note else [ROWS[0], ROWS[2]]
    assert [each for found in figures.names_in_notes(rows, [note]).values() for each in found] == named


@pytest.mark.parametrize(
    ("item", "bare"),
    [
        ("Spare parts 2019: $1,552", "$1,552"),
        ("Parts 2017: 21,408", "21,408"),  # a figure of the note
        ("Parts 2017: 21,4", "Parts 2017: 21,4"),  # no figure of the context
        ("Parts 2017: 408", "Parts 2017: 408"),
        ("Level 2: 4.1", "Level 2: 4.1"),  # the note's own words
        ("due to: rain", "due to: rain"),
        ("plain", "plain"),
    ],
)
def test_an_item_is_read_without_its_name(item: str, bare: str) -> None:
    context = f"Table:\n{TABLE}\nText:\nIn 2017, Parts were 21,408. Level 2: 4.1, due to: rain."
    assert figures.without_name(item, context) == bare


def test_a_year_that_is_a_row_label_names_no_figure() -> None:
    rows = [["", "due"], ["2019", "38"], ["2020", "41"]]
    assert figures.names_in_notes(rows, ["In 2019, we paid $36."]) == {}


def test_a_row_names_the_figures_of_table_and_note_alike_and_reads_back_as_gold() -> None:
    question = {
        "uid": "q",
        "order": 1,
        "question": "What is the change in inventories for Spare parts from 2017 to 2018?",
        "answer": -59587,
        "derivation": "(38,179)-21,408",
        "answer_type": "arithmetic",
        "answer_from": "table-text",
        "rel_paragraphs": ["1"],
        "req_comparison": False,
        "scale": "",
    }
    looked_up = {
        **question,
        "uid": "r",
        "order": 2,
        "question": "What were inventories for Spare parts in 2017?",
        "answer": ["21,408"],
        "derivation": "",
        "answer_type": "span",
        "answer_from": "text",
    }
    note = {"uid": "p", "order": 1, "text": "In 2017, inventories for Spare parts were 21,408."}
    raw = {"table": {"uid": "t", "table": ROWS}, "paragraphs": [note], "questions": [question, looked_up]}
    (context,) = schema.parse([raw], "a test")
    change, span = prompt.rows(context, prompt.Style("en", "headings", "equation"))
    assert change.fields["output"] == (
        "type: arithmetic\nevidence: Spare parts 2018: (38,179) ; Spare parts 2017: 21,408\n"
        "equation: (38179) - 21408\nscale: none"
    )
    assert target.read(change.fields["output"], "en", change.fields["input"]).answer == "-59587"
    assert span.fields["output"] == "type: span\nevidence: Spare parts 2017: 21,408\nscale: none"
    assert target.read(span.fields["output"], "en", span.fields["input"]).answer == "21,408"
