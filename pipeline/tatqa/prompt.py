"""Prompts: contexts to training rows.

A row is the seed project's triple, the rules of writing an answer, and what evaluation needs (the gold answer as JSON
text, so that the column has one type):

    {"instruction": "根据表格和文字回答问题",
     "input": "表格：\\n | 2019 | 2018\\nOther | 44.1 | 56.7\\n文字：\\nSales (in millions).\\n问题：What is the …?",
     "output": "-12.6 百万美元",
     "system": "只写答案，不要解释。…",
     "uid": …, "context": …, "answer": "-12.6", "answer_type": "arithmetic", "answer_from": "table-text",
     "scale": "million"}

Table and notes come first and the question last, so that the questions of one context share all but their end.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from pipeline.tatqa import figures, target
from pipeline.tatqa.language import LANGUAGES
from pipeline.tatqa.normalize import plain
from pipeline.tatqa.schema import Answer, Context, Question
from pipeline.tatqa.table import RENDERINGS


@dataclass(frozen=True)
class Style:
    """How rows are written: keys of language.LANGUAGES, table.RENDERINGS and target.TARGETS."""

    language: str
    table: str
    target: str


@dataclass(frozen=True)
class Row:
    """A training row, and what is unusual about its output."""

    fields: dict[str, Any]
    plain_because: str  # why the output is the plain answer although the target is "equation", else ""
    lost: str = ""  # what the output reads back as if that is not the gold answer, else ""


def in_plain_characters(context: Context, counted: Counter[str]) -> Context:
    """The context with normalized table, notes and questions, but its gold answers; adds the changes to `counted`."""
    questions = (
        replace(each, text=plain(each.text, counted), derivation=plain(each.derivation, Counter()))
        for each in context.questions
    )
    return replace(
        context,
        rows=tuple(tuple(plain(cell, counted) for cell in row) for row in context.rows),
        notes=tuple((order, plain(text, counted)) for order, text in context.notes),
        questions=tuple(questions),
    )


def rows(context: Context, style: Style) -> list[Row]:
    """One row per question of a context in plain characters, in the order of the file."""
    words = LANGUAGES[style.language]
    shared = render_context(context, style)
    notes = [text for _, text in context.notes]
    by_digits, cells, told = {}, {}, {}
    if style.target == "equation":
        by_digits = figures.by_digits((cell for row in context.rows for cell in row), notes)
        if style.table == "headings":
            cells, told = figures.names(context.rows), figures.names_in_notes(context.rows, notes)
    currency = words.currency(shared)
    made = []
    for question in context.questions:
        task = target.Task(
            _plain_answer(question.answer),
            question.answer_type,
            question.scale,
            question.derivation,
            by_digits,
            currency,
            question.answer,
            told if question.answer_from == "text" else figures.both(cells, told),
            question.text,
        )
        output, because = target.write(task, style.language, style.target)
        fields = {
            "instruction": words.instruction,
            "input": f"{shared}{_asked(question.text, style)}",
            "output": output,
            "system": words.rule(style.target, currency),
            **_evaluation_fields(context, question),
        }
        # an equation was read back before it was taken
        lost = target.lost(output, task, style.language, fields["input"]) if because or style.target == "answer" else ""
        made.append(Row(fields, because, lost))
    return made


def question_row(context: Context, question: str, style: Style) -> dict[str, Any]:
    """The row of a question that has no gold answer."""
    words = LANGUAGES[style.language]
    return {
        "instruction": words.instruction,
        "input": render_input(context, question, style),
        "system": words.rule(style.target, words.currency(render_context(context, style))),
    }


def render_input(context: Context, question: str, style: Style) -> str:
    """Table, notes in their order, the question last."""
    return f"{render_context(context, style)}{_asked(question, style)}"


def render_context(context: Context, style: Style) -> str:
    """What all questions of a context begin with."""
    words = LANGUAGES[style.language]
    notes = "\n".join(text.strip() for _, text in context.notes)
    return f"{words.table}\n{RENDERINGS[style.table](context.rows)}\n{words.notes}\n{notes}\n"


def _asked(question: str, style: Style) -> str:
    return f"{LANGUAGES[style.language].question}{question.strip()}"


def _plain_answer(answer: Answer) -> Answer:
    if isinstance(answer, list):
        return [plain(item, Counter()) for item in answer]
    return answer


def _evaluation_fields(context: Context, question: Question) -> dict[str, Any]:
    return {
        "uid": question.uid,
        "context": context.uid,
        "answer": json.dumps(question.answer, ensure_ascii=False),
        "answer_type": question.answer_type,
        "answer_from": question.answer_from,
        "scale": question.scale,
    }
