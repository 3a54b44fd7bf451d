"""Rows as the seed project has them, and answers back out of text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.recipe import load
from pipeline.rows import format_splits, read_rows, unformatted
from pipeline.tatqa import format, schema
from pipeline.tatqa.schema import SCALES, Context, Question

CONTEXT = Context(
    "c", (("", "2019", "2018"), ("Other", "44.1", "56.7")), ((1, "Sales by contract type (in millions)."),),
    (Question("q", "What is the change in Other?", -12.6, "arithmetic", "table-text", "million", "44.1-56.7", ("1",)),),
)  # fmt: skip


def test_the_seed_projects_row() -> None:
    (row,) = format.rows(CONTEXT, "zh")
    assert row == {
        "instruction": "根据表格和文字回答问题",
        "input": "表格：\n | 2019 | 2018\nOther | 44.1 | 56.7\n文字：\nSales by contract type (in millions).\n问题：What is the change in Other?",
        "output": "-12.6 百万美元",
        "uid": "q", "context": "c", "answer": "-12.6", "answer_type": "arithmetic", "answer_from": "table-text", "scale": "million",
    }  # fmt: skip


def test_its_english_twin() -> None:
    (row,) = format.rows(CONTEXT, "en")
    assert row["instruction"] == "Answer the question from the table and the text"
    assert row["input"].endswith("\nQuestion: What is the change in Other?")
    assert row["output"] == "-12.6 million"


@pytest.mark.parametrize("language", ["zh", "en"])
@given(number=st.one_of(st.integers(-(10**15), 10**15), st.floats(allow_nan=False, allow_infinity=False, width=32)), scale=st.sampled_from(SCALES))
def test_a_number_with_its_scale_comes_back(language: str, number: float, scale: str) -> None:
    text, found = format.parse_output(format.render_output(number, scale, language), language)
    assert isinstance(text, str)
    assert (float(text), found) == (float(number), scale)
    assert "e" not in text


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_real_answers_come_back(mirror: Path, language: str) -> None:
    """All but an empty span and, in English, the 84 that end in a scale word themselves."""
    lost = total = 0
    for context in schema.load(mirror / "tatqa_dataset_dev.json"):
        for question in context.questions:
            answer, scale = format.parse_output(format.render_output(question.answer, question.scale, language), language)
            gold = question.answer if isinstance(question.answer, list) else [str(question.answer)]
            said = answer if isinstance(answer, list) else [answer]
            total += 1
            if ([" ".join(item.split()) for item in gold], question.scale) != (said, scale):
                lost += 1
                assert language == "en" or "" in gold
    assert total == 1668
    assert lost <= {"zh": 1, "en": 85}[language]


def test_formatting_follows_raw_file_and_is_read_back(workplace: Path) -> None:
    from pipeline.fetch import _data

    recipe = load("quickstart")
    for split in ("train", "heldout"):
        _data("sample", split, print)
    assert unformatted(recipe) == ["train", "heldout"]
    format_splits(recipe, print)
    assert unformatted(recipe) == []
    rows = read_rows(Path("data/sample/en/train.jsonl"), contexts=2)
    assert len(rows) == 12
    assert json.loads(rows[0]["answer"])
    with Path("data/sample/raw/train.json").open("a") as file:
        file.write("\n")
    assert unformatted(recipe) == ["train"]
