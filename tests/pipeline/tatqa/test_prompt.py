"""Rows in the seed project's form, in both languages."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.tatqa import prompt, table, target
from pipeline.tatqa.prompt import Style
from pipeline.tatqa.schema import Context, Question

CONTEXT = Context(
    "c",
    (("", "2019", "2018"), ("Other", "44.1", "56.7")),
    ((1, "Sales by contract type (in $ millions)."), (2, "A second note.")),
    (Question("q", "What is the change in Other?", -12.6, "arithmetic", "table-text", "million", "44.1-56.7", ("1",)),),
)


def test_a_chinese_row_is_that_of_the_seed_project() -> None:
    (row,) = prompt.rows(CONTEXT, Style("zh", "pipe", "answer"))
    assert row.fields.pop("system").startswith("只写答案")
    assert row.fields == {
        "instruction": "根据表格和文字回答问题",
        "input": "表格：\n | 2019 | 2018\nOther | 44.1 | 56.7\n文字：\nSales by contract type (in $ millions).\n"
        "A second note.\n问题：What is the change in Other?",
        "output": "-12.6 百万美元",
        "uid": "q",
        "context": "c",
        "answer": "-12.6",
        "answer_type": "arithmetic",
        "answer_from": "table-text",
        "scale": "million",
    }


def test_an_english_row_has_the_same_form() -> None:
    (row,) = prompt.rows(CONTEXT, Style("en", "pipe", "answer"))
    assert row.fields["instruction"] == "Answer the question from the table and the text"
    assert row.fields["input"].endswith("\nQuestion: What is the change in Other?")
    assert row.fields["output"] == "-12.6 million"
    assert "thousand, million, billion or percent" in row.fields["system"]


def test_an_equation_is_written_in_both_languages() -> None:
    (row,) = prompt.rows(CONTEXT, Style("en", "pipe", "equation"))
    assert row.fields["output"] == "type: arithmetic\nevidence: 44.1 ; 56.7\nequation: 44.1 - 56.7\nscale: million"
    (row,) = prompt.rows(CONTEXT, Style("zh", "pipe", "equation"))
    assert row.fields["output"] == "类型：计算\n证据：44.1 ; 56.7\n算式：44.1 - 56.7\n单位：百万美元"
    assert row.plain_because == ""


def test_with_headings_the_evidence_has_the_names_of_its_cells() -> None:
    rows = (("", "2019", "2018"), ("Sales", "$5", "7"), ("Taxes", "7", "(2)"))
    questions = (
        Question("a", "What were Taxes in 2019?", ["7"], "span", "table", "", "", ()),
        Question("b", "What is the change in Taxes from 2018 to 2019?", 9, "arithmetic", "table", "", "7-(-2)", ()),
        Question("c", "How many were hired?", ["7"], "span", "text", "", "", ("1",)),
        Question("d", "What were Sales in 2019?", ["5"], "span", "table", "", "", ()),
        Question("e", "What is beside it?", ["Taxes 2019: 7"], "span", "table-text", "", "", ("1",)),
    )
    context = Context("c", rows, ((1, "It hired 7."),), questions)
    evidence = ["Taxes 2019: 7", "Taxes 2019: 7 ; Taxes 2018: (2)", "7", "Sales 2019: $5", "Taxes 2019: 7"]
    made = prompt.rows(context, Style("en", "headings", "equation"))
    assert [row.fields["output"].splitlines()[1].removeprefix("evidence: ") for row in made[:4]] == evidence[:4]
    assert made[4].plain_because  # it would be read back as the cell alone
    said = [target.read(row.fields["output"], "en", row.fields["input"]).answer for row in made]
    assert said == ["7", "9", "7", "$5", "Taxes 2019: 7"]
    assert (
        target.read("type: span\nevidence: Note 1: 7\nscale: none", "en", made[0].fields["input"]).answer == "Note 1: 7"
    )


@pytest.mark.parametrize(
    "style", [Style(language, way, "answer") for language in ("zh", "en") for way in table.RENDERINGS]
)
def test_the_questions_of_a_context_share_their_beginning(style: Style) -> None:
    one, other = (prompt.render_input(CONTEXT, text, style) for text in ("First?", "Second?"))
    shared = prompt.render_context(CONTEXT, style)
    assert one.startswith(shared) and other.startswith(shared)
    assert one.endswith("First?")


def test_the_prompt_is_normalized_and_the_gold_answer_is_not() -> None:
    question = Question("q", "What\u00a0is it?", ["a\u00a0b"], "span", "text", "", "a\u00a0b", ("1",))
    context = Context("c", (("x\u2212",),), ((1, "a\u00a0b"),), (question,))
    counted: Counter[str] = Counter()
    context = prompt.in_plain_characters(context, counted)
    (row,) = prompt.rows(context, Style("en", "pipe", "answer"))
    assert counted == {"minus sign": 1, "space": 2}
    assert "x-" in row.fields["input"] and "\u00a0" not in row.fields["input"]
    assert row.fields["output"] == "a b"
    assert row.fields["answer"] == '["a\u00a0b"]'
