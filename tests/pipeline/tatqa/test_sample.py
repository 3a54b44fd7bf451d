"""The embedded sample: complete, consistent, and the same bytes on every machine."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

from pipeline.tatqa import sample, schema

SPLITS = {split: schema.parse(sample.contexts(split), split) for split in sample.CONTEXTS}
ALL = [context for contexts in SPLITS.values() for context in contexts]


def test_the_sample_has_the_same_bytes_on_every_machine() -> None:
    text = json.dumps([sample.contexts(split) for split in sample.CONTEXTS])
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "73cee7879275d9b37825bbdfde6e7fe30f552d4117974df1e9f0999415a8803a"
    )


def test_each_split_has_contexts_of_its_own() -> None:
    assert len(SPLITS["heldout"]) >= 40
    asked = {split: {len(context.questions) for context in contexts} for split, contexts in SPLITS.items()}
    assert asked == {"train": {8}, "heldout": {6}, "hard": {6}}
    assert len({context.uid for context in ALL}) == len(ALL)
    assert len({json.dumps(context.rows) for context in ALL}) == len(ALL)


def test_each_split_has_every_answer_type() -> None:
    for split, contexts in SPLITS.items():
        questions = [question for context in contexts for question in context.questions]
        assert set(Counter(q.answer_type for q in questions)) == set(schema.ANSWER_TYPES)
        scales = set(Counter(q.scale for q in questions))
        assert scales == set(schema.SCALES) - ({"billion"} if split == "hard" else set())


def test_held_out_questions_are_mostly_lookups_across_two_keys_and_sums() -> None:
    """Not easier than the first sample, which had 12 sums and 24 lookups among 72 questions."""
    questions = [question for context in SPLITS["heldout"] for question in context.questions]
    kinds = Counter(question.answer_type for question in questions)
    assert kinds["arithmetic"] == len(questions) / 3
    assert kinds["multi-span"] == len(questions) / 6
    assert sum("table" in question.answer_from for question in questions) >= len(questions) / 2


def test_some_sums_need_a_figure_of_the_notes_and_some_cells_are_negative() -> None:
    for contexts in SPLITS.values():
        across = [question for context in contexts for question in context.questions if question.notes == ("1", "2")]
        assert any(question.answer_type == "arithmetic" for question in across)
        assert any(cell.startswith("(") for context in contexts for row in context.rows for cell in row)


def test_hard_topics_and_wordings_do_not_occur_in_training() -> None:
    labels = {split: {row[0] for context in contexts for row in context.rows[1:]} for split, contexts in SPLITS.items()}
    assert not labels["hard"] & labels["train"]
    assert labels["heldout"] <= labels["train"]


def test_every_span_occurs_in_its_context() -> None:
    for context in ALL:
        text = "\n".join([cell for row in context.rows for cell in row] + [note for _, note in context.notes])
        for question in context.questions:
            if isinstance(question.answer, list):
                assert all(span in text for span in question.answer), question


def test_every_arithmetic_answer_is_the_value_of_its_derivation() -> None:
    for context in ALL:
        for question in context.questions:
            if question.answer_type == "arithmetic":
                derivation = question.derivation.replace(",", "")
                assert re.fullmatch(r"[\d.+\-/() ]+", derivation)
                value = eval(derivation) * (100 if "percentage" in question.text else 1)
                assert isinstance(question.answer, int | float)
                assert abs(value - question.answer) < 0.006, question


def test_counts_and_comparisons_are_correct() -> None:
    for context in ALL:
        for question in context.questions:
            if question.answer_type == "count":
                listed = [name for name in question.derivation.split("##") if name]
                assert question.answer == str(len(listed))
            elif ">" in question.derivation:
                figures = [float(part.replace(",", "")) for part in question.derivation.split(">")]
                assert figures == sorted(figures, reverse=True)
                cells = [f"({cell[1:]})" if cell[0] == "-" else cell for cell in question.derivation.split(">")]
                (row,) = (row for row in context.rows if {cell.strip("$") for cell in row[1:]} == set(cells))
                column = [cell.strip("$") for cell in row].index(cells[0])
                assert question.answer == [context.rows[0][column]]
