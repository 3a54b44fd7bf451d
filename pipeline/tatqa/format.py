"""Raw contexts to training rows, and a model's text back to an answer.

    python -m pipeline format       # data/SOURCE/raw/*.json -> data/SOURCE/LANGUAGE/{train,evaluation}.jsonl

A row is the seed project's triple and what evaluation needs (the gold answer as JSON text, so that the column has one type):

    {"instruction": "根据表格和文字回答问题",
     "input": "表格：\n | 2019 | 2018\nOther | 44.1 | 56.7\n文字：\nSales by contract type (in millions).\n问题：What is the change in Other?",
     "output": "-12.6 百万美元",
     "uid": …, "context": …, "answer": "-12.6", "answer_type": "arithmetic", "answer_from": "table-text", "scale": "million"}

Table and notes come first and the question last, so that the questions of one context share all but their end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from pipeline.tatqa.schema import Answer, Context, Question

SEPARATOR = " ; "  # between the spans of a multi-span answer: stands in no gold span of TAT-QA's dev and test_gold


@dataclass(frozen=True)
class Language:
    """The words around table, notes, question and scale."""

    instruction: str
    table: str
    notes: str
    question: str
    scales: dict[str, str]  # TAT-QA's scale -> the word written after the answer


LANGUAGES = {
    "zh": Language(
        instruction="根据表格和文字回答问题",
        table="表格：",
        notes="文字：",
        question="问题：",
        scales={"": "", "thousand": "千美元", "million": "百万美元", "billion": "十亿美元", "percent": "%"},
    ),
    "en": Language(
        instruction="Answer the question from the table and the text",
        table="Table:",
        notes="Text:",
        question="Question: ",
        scales={"": "", "thousand": "thousand", "million": "million", "billion": "billion", "percent": "percent"},
    ),
}


def rows(context: Context, language: str) -> list[dict[str, Any]]:
    """One row per question of a context, in the order of the file."""
    return [
        {
            "instruction": LANGUAGES[language].instruction,
            "input": render_input(context, question.text, language),
            "output": render_output(question.answer, question.scale, language),
            **_evaluation_fields(context, question),
        }
        for question in context.questions
    ]


def _evaluation_fields(context: Context, question: Question) -> dict[str, Any]:
    return {
        "uid": question.uid,
        "context": context.uid,
        "answer": json.dumps(question.answer, ensure_ascii=False),
        "answer_type": question.answer_type,
        "answer_from": question.answer_from,
        "scale": question.scale,
    }


def render_input(context: Context, question: str, language: str) -> str:
    """Table (a line a row, cells between bars), notes in their order, the question last."""
    words = LANGUAGES[language]
    table = "\n".join(" | ".join(cell.strip() for cell in row) for row in context.rows)
    notes = "\n".join(text.strip() for _, text in context.notes)
    return f"{words.table}\n{table}\n{words.notes}\n{notes}\n{words.question}{question.strip()}"


def render_output(answer: Answer, scale: str, language: str) -> str:
    """The answer with its scale: `-12.6 百万美元`, `-12.6 million`, `Leeds ; Lyon`."""
    if isinstance(answer, list):
        text = SEPARATOR.join(answer)
    elif isinstance(answer, str):
        text = answer
    else:
        text = format(Decimal(repr(answer)), "f")  # 1e-05 and 1e+16 in plain digits
    return f"{text} {LANGUAGES[language].scales[scale]}".strip()


def parse_output(text: str, language: str) -> tuple[str | list[str], str]:
    """A model's text as (answer, scale), the inverse of `render_output` for numbers and spans.

    In English a span that itself ends in a scale word ("$9.8 million", 5.0% of dev's answers) comes back as ("$9.8", "million"):
    the authors' metric gives it the same exact match and no scale credit.
    """
    text = " ".join(text.split())
    scale = ""
    for name, word in LANGUAGES[language].scales.items():
        if word and text.endswith(f" {word}"):
            text, scale = text[: -len(word) - 1].rstrip(), name
            break
    parts = [part.strip() for part in text.split(SEPARATOR) if part.strip()]
    return (parts, scale) if len(parts) > 1 else (text, scale)
