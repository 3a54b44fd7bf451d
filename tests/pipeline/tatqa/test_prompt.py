"""Rows as the seed project has them, in both languages, with tables in each way."""

from __future__ import annotations

import csv
import html.parser
import io
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tatqa import prompt, table
from pipeline.tatqa.normalize import plain
from pipeline.tatqa.prompt import Style
from pipeline.tatqa.schema import Context, Question

CONTEXT = Context(
    "c",
    (("", "2019", "2018"), ("Other", "44.1", "56.7")),
    ((1, "Sales by contract type (in $ millions)."), (2, "A second note.")),
    (Question("q", "What is the change in Other?", -12.6, "arithmetic", "table-text", "million", "44.1-56.7", ("1",)),),
)
CELL = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)


def test_the_seed_projects_row() -> None:
    (row,) = prompt.rows(CONTEXT, Style("zh", "pipe", "answer"))
    assert row.fields.pop("system").startswith("只写答案")
    assert row.fields == {
        "instruction": "根据表格和文字回答问题",
        "input": "表格：\n | 2019 | 2018\nOther | 44.1 | 56.7\n文字：\nSales by contract type (in $ millions).\nA second note.\n问题：What is the change in Other?",
        "output": "-12.6 百万美元",
        "uid": "q",
        "context": "c",
        "answer": "-12.6",
        "answer_type": "arithmetic",
        "answer_from": "table-text",
        "scale": "million",
    }


def test_its_english_twin() -> None:
    (row,) = prompt.rows(CONTEXT, Style("en", "pipe", "answer"))
    assert row.fields["instruction"] == "Answer the question from the table and the text"
    assert row.fields["input"].endswith("\nQuestion: What is the change in Other?")
    assert row.fields["output"] == "-12.6 million"
    assert "thousand, million, billion or percent" in row.fields["system"]


def test_an_equation_in_both_languages() -> None:
    (row,) = prompt.rows(CONTEXT, Style("en", "pipe", "equation"))
    assert row.fields["output"] == "type: arithmetic\nevidence: 44.1 ; 56.7\nequation: 44.1 - 56.7\nscale: million"
    (row,) = prompt.rows(CONTEXT, Style("zh", "pipe", "equation"))
    assert row.fields["output"] == "类型：计算\n证据：44.1 ; 56.7\n算式：44.1 - 56.7\n单位：百万美元"
    assert row.plain_because == ""


@pytest.mark.parametrize(
    "style", [Style(language, way, "answer") for language in ("zh", "en") for way in table.RENDERINGS]
)
def test_questions_of_a_context_begin_alike(style: Style) -> None:
    one, other = (prompt.render_input(CONTEXT, text, style) for text in ("First?", "Second?"))
    shared = prompt.render_context(CONTEXT, style)
    assert one.startswith(shared) and other.startswith(shared)
    assert one.endswith("First?")


def test_the_four_ways_of_a_table() -> None:
    rows = (("", "2019 |", 'a "b", c'), ("Profit\n& loss", "(1,234)", "—"))
    assert table.pipe(rows) == ' | 2019 | | a "b", c\nProfit & loss | (1,234) | —'
    assert table.markdown(rows) == '|  | 2019 \\| | a "b", c |\n| --- | --- | --- |\n| Profit & loss | (1,234) | — |'
    assert table.comma_separated(rows) == ',2019 |,"a ""b"", c"\nProfit & loss,"(1,234)",—'
    assert table.hypertext(rows) == (
        '<table>\n<tr><td></td><td>2019 |</td><td>a "b", c</td></tr>\n<tr><td>Profit &amp; loss</td><td>(1,234)</td><td>—</td></tr>\n</table>'
    )


@given(st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=1, max_size=4))
def test_csv_and_html_are_read_back_by_other_readers(rows: list[list[str]]) -> None:
    tidy = [[" ".join(cell.split()) for cell in row] for row in rows]
    assert list(csv.reader(io.StringIO(table.comma_separated(rows)))) == tidy

    class Cells(html.parser.HTMLParser):
        cells: list[str]

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag == "td":
                self.cells.append("")

        def handle_data(self, data: str) -> None:
            if self.cells and data != "\n":
                self.cells[-1] += data

    reader = Cells()
    reader.cells = []
    reader.feed(table.hypertext(rows))
    reader.close()
    assert [cell.rstrip("\n") for cell in reader.cells] == [cell for row in tidy for cell in row]


def test_characters_that_mean_the_same_are_made_plain_and_counted() -> None:
    counted: Counter[str] = Counter()
    assert (
        plain("\u221212.6\u00a0mil\u200bli\u00adon, e\ufb00ective; 2018\u20132019 “—” £ ²", counted)
        == "-12.6 million, effective; 2018\u20132019 “—” £ ²"
    )
    assert counted == {"minus sign": 1, "space": 1, "zero-width character": 2, "ligature": 1}
    assert plain("plain", counted) == "plain"


def test_gold_answers_stay_and_what_the_model_reads_is_plain() -> None:
    question = Question("q", "What\u00a0is it?", ["a\u00a0b"], "span", "text", "", "a\u00a0b", ("1",))
    context = Context("c", (("x\u2212",),), ((1, "a\u00a0b"),), (question,))
    counted: Counter[str] = Counter()
    context = prompt.in_plain_characters(context, counted)
    (row,) = prompt.rows(context, Style("en", "pipe", "answer"))
    assert counted == {"minus sign": 1, "space": 2}
    assert "x-" in row.fields["input"] and "\u00a0" not in row.fields["input"]
    assert row.fields["output"] == "a b"
    assert row.fields["answer"] == '["a\u00a0b"]'
