"""The embedded sample: complete, consistent, and the same bytes on every machine."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

from pipeline.tatqa import sample, schema

TRAIN, HELDOUT = (schema.parse(sample.contexts(split), split) for split in ("train", "heldout"))
ALL = [*TRAIN, *HELDOUT]


def test_the_sample_has_the_same_bytes_on_every_machine() -> None:
    text = json.dumps([sample.contexts(split) for split in ("train", "heldout")])
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "9194247ab5e080cc63a2f7dbccf583550b73e543b91c79544b71ec36f819bf84"
    )


def test_there_are_enough_contexts_of_six_questions_in_both_splits() -> None:
    assert len(TRAIN) >= 60
    assert len(HELDOUT) >= 12
    assert all(len(context.questions) == 6 for context in ALL)
    assert not {c.uid for c in TRAIN} & {c.uid for c in HELDOUT}


def test_both_splits_have_every_answer_type_and_scale() -> None:
    for part in (TRAIN, HELDOUT):
        questions = [question for context in part for question in context.questions]
        assert set(Counter(q.answer_type for q in questions)) == set(schema.ANSWER_TYPES)
        assert set(Counter(q.scale for q in questions)) == set(schema.SCALES)


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
                value = eval(derivation) * (100 if "/" in derivation else 1)
                assert isinstance(question.answer, int | float)
                assert abs(value - question.answer) < 0.006, question


def test_counts_and_comparisons_are_correct() -> None:
    for context in ALL:
        for question in context.questions:
            if question.answer_type == "count":
                listed = [name for name in question.derivation.split("##") if name]
                assert question.answer == str(len(listed))
            if match := re.fullmatch(r"([\d.,]+)([<>])([\d.,]+)", question.derivation):
                new, old = (float(match.group(i).replace(",", "")) for i in (1, 3))
                later, earlier = context.rows[0][1:]
                assert question.answer == [later if new > old else earlier]
