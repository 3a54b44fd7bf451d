"""Truncation: what a context that is too long loses, and what it always keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.tatqa import schema, truncate
from pipeline.tatqa.schema import Context, Question

ROWS = (
    ("", "2019", "2018"),
    ("Sales", "10", "20"),
    ("Costs", "4", "5"),
    ("Other", "44.1", "56.7"),
    ("Total", "58", "82"),
)
NOTES = (
    (1, "In millions."),
    (2, "A long tale of weather."),
    (3, "Leeds is where it began."),
    (4, "More weather, and costs."),
)
SUM = Question("q1", "What is the change in Other?", -12.6, "arithmetic", "table", "million", "44.1-56.7", ("1",))
SPAN = Question("q2", "Where did it begin?", ["Leeds"], "span", "text", "", "Leeds", ())
CONTEXT = Context("c", ROWS, NOTES, (SUM, SPAN))


def _size(context: Context) -> int:
    return len(context.rows) + len(context.notes)


def test_training_drops_unreferenced_notes_first_and_then_rows_that_no_answer_needs() -> None:
    whole = _size(CONTEXT)
    for removed in range(1, whole):
        cut = truncate.cut(CONTEXT, lambda shorter, most=whole - removed: _size(shorter) <= most, training=True)  # type: ignore[misc]
        assert cut is not None
        assert (cut.notes, cut.rows) == (min(removed, 2), min(max(0, removed - 2), 3))
        # the heading, the row "Other", and notes 1 and 3 stay
        assert ROWS[0] in cut.context.rows and ROWS[3] in cut.context.rows
        assert NOTES[0] in cut.context.notes and NOTES[2] in cut.context.notes
    first = truncate.cut(CONTEXT, lambda shorter: _size(shorter) < whole, training=True)
    assert first is not None
    assert first.context.notes == NOTES[:3]


def test_evaluation_truncates_without_looking_at_the_answers() -> None:
    """A context with other answers, evidence and derivations is truncated in the same way."""
    unrelated = Context(
        "c",
        ROWS,
        NOTES,
        tuple(Question(each.uid, each.text, "9", "count", "table", "", "x ## y", ("4",)) for each in (SUM, SPAN)),
    )
    for most in range(1, _size(CONTEXT)):

        def fits(shorter: Context, most: int = most) -> bool:
            return _size(shorter) <= most

        one, other = (truncate.cut(each, fits, training=False) for each in (CONTEXT, unrelated))
        assert one is not None and other is not None
        assert (one.context.rows, one.context.notes) == (other.context.rows, other.context.notes)
        assert ROWS[0] in one.context.rows
    cut = truncate.cut(CONTEXT, lambda shorter: len(shorter.notes) < 3, training=False)
    assert cut is not None
    assert [order for order, _ in cut.context.notes] == [1, 3]  # the others share no word with a question


def test_truncation_keeps_what_the_official_answers_need(mirror: Path) -> None:
    """A context of dev, truncated to half its length if possible, keeps every span and figure of its answers."""
    truncated = 0
    for context in schema.read(mirror / "tatqa_dataset_dev.json"):
        half = _size(context) // 2
        cut = truncate.cut(context, lambda shorter, most=half: _size(shorter) <= most, training=True)  # type: ignore[misc]
        if cut is None:
            continue
        truncated += 1
        texts = [*(cell for row in cut.context.rows for cell in row), *(text for _, text in cut.context.notes)]
        before = [*(cell for row in context.rows for cell in row), *(text for _, text in context.notes)]
        for question in context.questions:
            for item in truncate.needed(question):
                if any(truncate.holds(text, [item]) for text in before):
                    assert any(truncate.holds(text, [item]) for text in texts), (question.uid, item)
    assert truncated > 50


@pytest.mark.parametrize(
    ("text", "wanted", "held"),
    [
        ("$ (1,234)", ["1234"], True),
        ("in Leeds  today", ["leeds today"], True),
        ("12", ["3"], False),
        ("x", [""], False),
    ],
)
def test_whether_a_text_holds_an_item(text: str, wanted: list[str], held: bool) -> None:
    assert truncate.holds(text, wanted) is held
