"""A text against the gold answer of its row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.generation.judge import judge
from pipeline.tatqa.metric import Score

ROW: dict[str, Any] = {"input": "", "answer": json.dumps(["1,250"]), "answer_type": "span", "scale": "million"}


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ("1,250 million", Score(1.0, 1.0, 1.0)),
        ("1,250 thousand", Score(0.0, 0.0, 0.0)),
        ("9" * 400, Score(0.0, 0.0, 0.0)),  # no float holds it
    ],
)
def test_a_text_is_read_and_scored(text: str, scores: Score) -> None:
    assert judge(ROW, text, "en")[1] == scores


def test_a_row_of_text_is_compared_verbatim() -> None:
    row = {**ROW, "answer": json.dumps(["word 3"]), "answer_type": "text", "scale": ""}
    said, scores = judge(row, "word 3", "en")
    assert (said.answer, scores.em) == ("word 3", 1.0)
