"""The metric against recorded results of the authors' own scorer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import Stop
from pipeline.tatqa.metric import Score, mean, score, score_all
from pipeline.tatqa.schema import SCALES, Question
from tests.conftest import ROOT

CASES = json.loads((ROOT / "tests" / "data" / "official_cases.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['note'][:40]}")
def test_a_case_scores_as_by_the_authors_scorer(case: dict[str, Any]) -> None:
    scored = score(case["answer"], case["answer_type"], case["gold_scale"], case["prediction"], case["scale"])
    assert (scored.em, scored.f1, scored.scale) == (case["em"], case["f1"], case["scale_score"])


@given(value=st.floats(-(10**9), 10**9).map(lambda x: round(x, 2)).filter(bool), scale=st.sampled_from(SCALES))
def test_the_gold_answer_scores_full_marks(value: float, scale: str) -> None:
    assert score(value, "arithmetic", scale, value, scale) == Score(1.0, 1.0, 1.0)


@given(
    items=st.lists(
        st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=8), min_size=1, max_size=5
    )
)
def test_the_order_of_spans_does_not_matter(items: list[str]) -> None:
    assert score(items, "multi-span", "", items[::-1], "") == Score(1.0, 1.0, 1.0)


@given(prediction=st.one_of(st.text(), st.floats(), st.integers(), st.lists(st.text())), scale=st.sampled_from(SCALES))
def test_any_prediction_scores_between_0_and_1(prediction: object, scale: str) -> None:
    scored = score(["about 3.2 million"], "span", "", prediction, scale)
    assert all(0 <= part <= 1 for part in (scored.em, scored.f1, scored.scale))


@pytest.mark.parametrize(
    ("prediction", "scale"), [("1", None), (["1", 2], ""), ([None], ""), ({"a": 1}, ""), (True, "")]
)
def test_a_prediction_that_the_authors_scorer_crashes_on_is_refused_by_its_uid(
    prediction: object, scale: object
) -> None:
    question = Question("the-uid", "?", 1, "arithmetic", "table", "", "", ())
    with pytest.raises(Stop, match="the-uid"):
        score_all([question], {"the-uid": [prediction, scale]})
    with pytest.raises(Stop, match=r"\[answer, scale\]"):
        score_all([question], {"the-uid": "1"})


def test_a_question_without_a_prediction_scores_0() -> None:
    question = Question("u", "?", 1, "arithmetic", "table", "", "", ())
    assert score_all([question], {}) == {"u": Score(0, 0, 0)}
    assert mean([Score(1, 1, 1), Score(0, 0.5, 1)]) == Score(0.5, 0.75, 1)
