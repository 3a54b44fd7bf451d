"""The tool: what it takes, and which of a model's texts are answers."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import recipe
from pipeline.serving import answer
from pipeline.serving.answer import Prompted, Tool
from pipeline.serving.protocol import Refusal
from pipeline.tatqa import equation, prompt, sample, schema
from tests.conftest import ROOT

TABLE: list[list[Any]] = [
    ["", "2019", "2018"],
    ["Other", "44.1", "56.7"],
    ["Sales", 1200, None],
    ["Loss", "(3)", 0.5],
    ["Debt", 1e17, 1e-7],
]
NOTES = ["In millions. Plants are in Leeds and Lyon."]
CHANGE = "type: arithmetic\nevidence: Other 2019: 44.1 ; Other 2018: 56.7\nequation: 44.1 - 56.7\nscale: million"


def tool(*settings: str, length: int = 1) -> Tool:
    """The tool of the quickstart; every prompt has `length` tokens."""
    template: Any = SimpleNamespace(prompts=lambda rows: [[7] * length for _ in rows])
    return Tool(recipe.load("quickstart", list(settings)), template, 80)


def prompted(made: Tool, question: str = "What was the change in Other?") -> Prompted:
    return made.prompted(answer.checked({"table": TABLE, "notes": NOTES, "question": question}))


def read(text: str, *settings: str) -> dict[str, Any]:
    made = tool(*settings)
    found = made.read(text, prompted(made)).model_dump()
    jsonschema.validate(found, answer.result_schema())
    return found


def test_an_arithmetic_answer_is_computed_from_cells() -> None:
    assert read(CHANGE) == {
        "answer": "-12.6",
        "scale": "million",
        "answer_type": "arithmetic",
        "evidence": ["44.1", "56.7"],
        "equation": "44.1 - 56.7",
    }


@pytest.mark.parametrize(
    ("text", "kind", "wanted", "scale"),
    [
        ("type: span\nevidence: Other 2019: 44.1\nscale: million", "span", "44.1", "million"),
        ("type: multi-span\nevidence: Leeds ; Lyon\nscale: none", "multi-span", ["Leeds", "Lyon"], ""),
        ("type: count\nevidence: Leeds ; Lyon\nscale: none", "count", "2", ""),
        ("type: arithmetic\nequation: (44.1 + 56.7) / 2\nscale: million", "arithmetic", "50.4", "million"),
        ("type: arithmetic\nequation: (44.1 / 56.7 - 1) * 100\nscale: percent", "arithmetic", "-22.22", "percent"),
        ("type: arithmetic\nequation: (3) - 44.1\nscale: none", "arithmetic", "-47.1", ""),
        ("Leeds ; Lyon", "multi-span", ["Leeds", "Lyon"], ""),
        ("Leeds", "span", "Leeds", ""),
    ],
)
def test_every_kind_of_answer(text: str, kind: str, wanted: Any, scale: str) -> None:
    found = read(text)
    assert (found["answer_type"], found["answer"], found["scale"]) == (kind, wanted, scale)
    if found["equation"]:
        assert Decimal(wanted) == equation_of_python(found["equation"])


def equation_of_python(text: str) -> Decimal:
    """An equation as Python reads it, exactly, and rounded as answers are."""
    signs = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.BinOp):
            found: Fraction = signs[type(node.op)](value(node.left), value(node.right))
            return found
        if isinstance(node, ast.UnaryOp):
            return -value(node.operand)
        assert isinstance(node, ast.Constant)
        return Fraction(str(node.value))

    return Decimal(equation.answer(value(ast.parse(text, mode="eval").body)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type: arithmetic\nevidence: 44.1 ; 56.8\nequation: 44.1 - 56.8\nscale: million", "'56.8'"),
        ("type: arithmetic\nequation: 44.1 - 56.8\nscale: million", "the equation has 56.8"),
        ("type: arithmetic\nequation: 44.1 - 6.7\nscale: million", "the equation has 6.7"),
        ("type: arithmetic\nequation: 1 - 1\nscale: million", "the equation has 1"),
        ("type: arithmetic\nequation: 44.1 -\nscale: million", "the equation: a number was expected"),
        ("type: arithmetic\nequation: 44.1 / 0\nscale: million", "a division by zero"),
        ("type: arithmetic\nequation: 44.1 - 56.7\nscale: dozens", "no scale: 'dozens'"),
        ("type: span\nevidence: 4.1\nscale: none", "'4.1'"),
        ("type: span\nevidence: Paris\nscale: none", "'Paris'"),
        ("type: span\nevidence: What was the change in Other?\nscale: none", "neither table nor notes have"),
        ("type: count\nevidence: Leeds ; Paris\nscale: none", "'Paris'"),
        ("-12.6 million", "neither labelled lines"),
        ("The change was a decrease.", "neither labelled lines"),
        ("", "an empty text"),
        ("<think>56.7 is more</think>", "an empty text"),
    ],
)
def test_what_table_and_notes_do_not_have_is_no_answer(text: str, message: str) -> None:
    with pytest.raises(Refusal) as refusal:
        read(text)
    assert (refusal.value.status, refusal.value.code) == (422, "no_answer")
    assert message in refusal.value.message


def test_a_recipe_of_plain_answers_has_computed_figures_without_an_equation() -> None:
    found = read("-12.6 million", "data.target=answer")
    assert (found["answer"], found["scale"], found["evidence"], found["equation"]) == ("-12.6", "million", [], "")
    with pytest.raises(Refusal, match="neither labelled lines"):
        read("A decrease", "data.target=answer")


def test_a_reasoning_trace_is_no_answer() -> None:
    assert read(f"<think>99 - 98 = 1</think>\n{CHANGE}")["answer"] == "-12.6"


@given(st.text(max_size=60) | st.sampled_from([CHANGE, CHANGE.replace("44.1", "9"), CHANGE[:-9], CHANGE[:40]]))
def test_any_text_is_an_answer_of_the_schema_or_refused(text: str) -> None:
    made = tool()
    try:
        found = made.read(text, prompted(made)).model_dump()
    except Refusal as refusal:
        assert refusal.code == "no_answer"
    else:
        jsonschema.validate(found, answer.result_schema())


def test_numbers_and_empty_cells_are_read_as_json_writes_them() -> None:
    text = prompted(tool("data.table=pipe")).text
    assert "Sales | 1200 | \n" in text and "Loss | (3) | 0.5\nDebt | 100000000000000000 | 0.0000001\n" in text


def _gold(contexts: list[schema.Context]) -> tuple[int, list[str]]:
    """Questions of contexts, and why their gold targets, as a model that is right writes them, are no answers."""
    made, count, refused = tool(), 0, []
    for each in contexts:
        context = prompt.in_plain_characters(each, Counter())
        questions = {question.uid: question.text for question in context.questions}
        for row in prompt.rows(context, prompt.Style("en", "headings", "equation")):
            notes = [note for _, note in context.notes]
            given_rows = [list(cells) for cells in context.rows]
            asked = answer.checked({"table": given_rows, "notes": notes, "question": questions[row.fields["uid"]]})
            count += 1
            try:
                found = made.read(row.fields["output"], made.prompted(asked))
            except Refusal as refusal:
                refused.append(refusal.message)
            else:
                assert found.scale == row.fields["scale"]
    return count, refused


def test_right_answers_to_the_sample_are_answers() -> None:
    count, refused = _gold(schema.parse(sample.contexts("heldout"), "sample"))
    assert count > 100
    assert refused == []


def test_nearly_all_right_answers_to_tatqa_are_answers(mirror: Path) -> None:
    """The others have evidence that is in no table and no note, or are split at their own semicolon."""
    count, refused = _gold(schema.load(mirror / "tatqa_dataset_test_gold.json"))
    assert count > 1600
    assert len(refused) <= 8, refused


def given_table(rows: Any, **others: Any) -> dict[str, Any]:
    return {"table": rows, "question": "Why?", **others}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (given_table([["a"]] * 201), 413, "table: List should have at most 200 items"),
        (given_table([["a"] * 51]), 413, "table.0: List should have at most 50 items"),
        (given_table([["a" * 301]]), 413, "table.0.0: String should have at most 300 characters"),
        (given_table([["a"]], notes=["a"] * 101), 413, "notes: List should have at most 100 items"),
        (given_table([["a"]], notes=["a" * 5001]), 413, "notes.0: String should have at most 5000 characters"),
        (given_table([["a"]], question="a" * 1001), 413, "question: String should have at most 1000 characters"),
        (given_table([["a", "b"], ["c"]]), 422, "table: Value error, row 1 has 1 cells, and row 0 has 2"),
        (given_table([]), 422, "table: List should have at least 1 item"),
        (given_table([[]]), 422, "table.0: List should have at least 1 item"),
        (given_table([[True]]), 422, "table.0.0"),
        (given_table([[{}]]), 422, "table.0.0"),
        (given_table([[float("nan")]]), 422, "table.0.0"),
        (given_table([[10**19]]), 422, "table.0.0"),
        (given_table("a | b"), 422, "table: Input should be a valid list"),
        (given_table([["\ud800"]]), 422, "table.0.0"),
        (given_table([["a"]], question=" \n"), 422, "question: String should match pattern"),
        (given_table([["a"]], scale="million"), 422, "scale: Extra inputs are not permitted"),
        (given_table([["a"]], **{"\ud800": 1}), 422, "unable to parse"),
        ({"table": [["a"]]}, 422, "question: Field required"),
    ],
)
def test_wrong_arguments_are_refused_with_their_place(arguments: dict[str, Any], status: int, message: str) -> None:
    with pytest.raises(Refusal) as refusal:
        answer.checked(arguments)
    assert refusal.value.status == status
    assert message in refusal.value.message
    json.dumps(refusal.value.body, ensure_ascii=False).encode()


def test_a_table_that_the_recipe_would_truncate_is_refused() -> None:
    made = tool("training.max_length=512", length=513)
    with pytest.raises(Refusal, match=r"have 513 tokens; training.max_length of the model is 512") as refusal:
        prompted(made)
    assert refusal.value.status == 413
    prompted(tool("training.max_length=512", length=512))


def test_the_docs_have_the_schemas() -> None:
    """To write them anew: python -m pipeline.serving.answer"""
    text = Path(ROOT, "docs", "serving.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    assert [json.loads(block) for block in blocks] == [answer.tool(), answer.result_schema()]
    for each in (answer.tool()["function"]["parameters"], answer.result_schema()):
        jsonschema.Draft202012Validator.check_schema(each)
