"""The tool `answer_financial_question`: a table, notes and a question in, a checked answer out.

    {"table": [["", "2019", "2018"], ["Other", "44.1", "56.7"]], "notes": ["In millions."],
     "question": "What was the change in Other from 2018 to 2019?"}

    {"answer": "-12.6", "scale": "million", "answer_type": "arithmetic", "evidence": ["44.1", "56.7"],
     "equation": "44.1 - 56.7"}

The model is asked as `evaluate` asks it, by the run's recipe, and reads nothing but the request. What it writes is an
answer only if table and notes have it: the evidence verbatim, the equation's figures by their digits, and the result
is computed here. Otherwise there is no answer, and the reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError, field_validator

from pipeline.data.format import style
from pipeline.models import reasoning
from pipeline.models.chat_template import ChatTemplate
from pipeline.recipe import Recipe
from pipeline.serving.protocol import Refusal
from pipeline.tatqa import equation, figures, prompt, schema, target
from pipeline.tatqa.language import LANGUAGES
from pipeline.tatqa.normalize import plain

NAME = "answer_financial_question"
DESCRIPTION = (
    "Answer a question about one financial table and its notes. Figures are computed from the table's own, and every "
    "answer names its evidence. Without an answer that table and notes support, the result is an error."
)
ROWS, COLUMNS, NOTES = 200, 50, 100
CELL, NOTE, QUESTION = 300, 5000, 1000  # characters

_Text = Annotated[StrictStr, Field(max_length=CELL)]
_Whole = Annotated[StrictInt, Field(ge=-(10**18), le=10**18)]
_Number = Annotated[StrictFloat, Field(ge=-1e18, le=1e18, allow_inf_nan=False)]
_Row = Annotated[list[_Text | _Whole | _Number | None], Field(min_length=1, max_length=COLUMNS)]
Table = Annotated[
    list[_Row],
    Field(
        min_length=1,
        max_length=ROWS,
        description="Rows of cells, all of the same length, the first row with the headings. Null is an empty cell.",
    ),
]
Notes = Annotated[
    list[Annotated[StrictStr, Field(max_length=NOTE)]],
    Field(max_length=NOTES, description="The text around the table, such as 'In millions of dollars.'"),
]
Asked = Annotated[
    StrictStr,
    Field(min_length=1, max_length=QUESTION, pattern=r"\S", description="One question, in the table's language."),
]


class Question(BaseModel):
    """The arguments of the tool."""

    model_config = ConfigDict(extra="forbid")

    table: Table
    notes: Notes = Field(default_factory=list)
    question: Asked

    @field_validator("table")
    @classmethod
    def _rectangular(cls, rows: list[list[Any]]) -> list[list[Any]]:
        for number, row in enumerate(rows):
            if len(row) != len(rows[0]):
                raise ValueError(f"row {number} has {len(row)} cells, and row 0 has {len(rows[0])}")
        return rows


class Answer(BaseModel):
    """The result of the tool."""

    model_config = ConfigDict(extra="forbid")

    answer: str | list[str] = Field(
        description="Words of table or notes, a list for multi-span; or a figure in plain digits, such as -12.6."
    )
    scale: Literal["", "thousand", "million", "billion", "percent"] = Field(
        description="What the figure is counted in; not multiplied into it."
    )
    answer_type: Literal["span", "multi-span", "arithmetic", "count"]
    evidence: list[str] = Field(description="What the answer is from, verbatim from table and notes.")
    equation: str = Field(description="What an arithmetic answer was computed from; else empty.")


def tool() -> dict[str, Any]:
    """The tool as OpenAI's API takes it."""
    return {
        "type": "function",
        "function": {"name": NAME, "description": DESCRIPTION, "parameters": _untitled(Question.model_json_schema())},
    }


def result_schema() -> dict[str, Any]:
    """The JSON Schema of an answer."""
    return dict(_untitled(Answer.model_json_schema()))


def _untitled(value: Any) -> Any:
    """A schema without the titles that pydantic makes of names."""
    if isinstance(value, dict):
        return {key: _untitled(each) for key, each in value.items() if not (key == "title" and isinstance(each, str))}
    return [_untitled(each) for each in value] if isinstance(value, list) else value


def checked(arguments: Mapping[str, Any]) -> Question:
    """The arguments of a call.

    Raises:
        Refusal: as `refused`.
    """
    try:
        return Question.model_validate(arguments)
    except ValidationError as error:
        raise refused(error.errors(include_url=False, include_input=False)) from None


def refused(errors: list[Any]) -> Refusal:
    """What is wrong with arguments, by pydantic's errors: status 413 for too much, else 422."""
    first = errors[0]
    parts = (str(part) for part in first["loc"][:3] if part != "body")  # deeper are the kinds that a cell may be
    where = ".".join(parts).encode("utf-8", "replace").decode()
    if first["type"] in ("too_long", "string_too_long"):
        return Refusal(413, f"{where}: {first['msg']}", "too_large", where)
    if first["type"] == "json_invalid":
        return Refusal(422, "the body is not JSON", "invalid_json")
    return Refusal(422, f"{where}: {first['msg']}".removeprefix(": "), "invalid_value", where or None)


@dataclass(frozen=True)
class Prompted:
    """A question as the model reads it."""

    text: str  # table, notes and question
    context: str  # table and notes
    ids: list[int]
    figures: frozenset[Decimal]  # of table, notes and question


@dataclass(frozen=True)
class Tool:
    """Asks by a recipe, and reads the model's texts."""

    recipe: Recipe
    template: ChatTemplate
    tokens: int  # of an answer, as evaluate cuts it off

    def prompted(self, asked: Question) -> Prompted:
        """The question as the model reads it.

        Raises:
            Refusal: it is too long for the recipe; nothing is left out silently.
        """
        rows = tuple(tuple(_cell(cell) for cell in row) for row in asked.table)
        given = schema.Context("", rows, tuple(enumerate(asked.notes, 1)), ())
        context = prompt.in_plain_characters(given, Counter())
        question = plain(asked.question, Counter())
        row = prompt.question_row(context, question, style(self.recipe.data))
        (ids,) = self.template.prompts([row])
        if len(ids) > (limit := self.recipe.training.max_length):
            message = f"table, notes and question have {len(ids)} tokens; training.max_length of the model is {limit}"
            raise Refusal(413, message, "context_length_exceeded")
        words = LANGUAGES[self.recipe.data.language]
        text = row["input"].removesuffix(f"{words.question}{question.strip()}")
        cells = (cell for row in context.rows for cell in row)
        found = figures.by_digits(cells, [*(note for _, note in context.notes), question])
        return Prompted(row["input"], text, ids, frozenset(found))

    def read(self, text: str, asked: Prompted) -> Answer:
        """The answer in a model's text.

        Raises:
            Refusal: it has none, or one that table and notes do not support.
        """
        text = reasoning.split(text)[1]
        said = target.read(text, self.recipe.data.language, asked.text)
        if said.problem:
            raise _no_answer(said.problem, text)
        kind, evidence = said.kind, list(said.evidence)
        if not kind:  # a plain answer
            spans = said.answer if isinstance(said.answer, list) else [said.answer]
            if all(_is_in(span, asked.context) for span in spans):
                kind, evidence = "span" if len(spans) == 1 else "multi-span", list(spans)
            elif self.recipe.data.target == "answer" and re.fullmatch(r"-?\d+(\.\d+)?", spans[0]) and len(spans) == 1:
                kind = "arithmetic"
            else:
                raise _no_answer("neither labelled lines, nor words of table and notes", text)
        if lacking := [each for each in evidence if not _is_in(each, asked.context)]:
            raise _no_answer(f"evidence that neither table nor notes have: {lacking[0]!r}", text)
        if said.equation and (unknown := _unknown(said.equation, asked.figures)):
            raise _no_answer(f"the equation has {unknown}, which neither table nor notes have", text)
        return Answer.model_validate(
            {
                "answer": said.answer,
                "scale": said.scale,
                "answer_type": kind,
                "evidence": evidence,
                # a report's negative number as every program reads it: (3) becomes (-3)
                "equation": re.sub(r"\((\d+(?:\.\d+)?)\)", r"(-\1)", said.equation),
            }
        )


def _cell(value: str | int | float | None) -> str:
    """A cell as text; a number in plain digits."""
    if value is None:
        return ""
    return value if isinstance(value, str) else format(Decimal(repr(value)), "f")


def cut_off(text: str) -> Refusal:
    """The refusal of a text that has reached its limit: what it ends in may be half a figure."""
    return _no_answer("it was cut off", text)


def _no_answer(problem: str, text: str) -> Refusal:
    shown = " ".join(text.split())[:200]
    return Refusal(422, f"no answer can be read from what the model wrote: {problem}; it wrote {shown!r}", "no_answer")


def _is_in(item: str, context: str) -> bool:
    """Whether a context has a text, and not only as a part of a longer figure."""
    finder = figures.finder(item)
    return finder is not None and finder.search(context) is not None


def _unknown(written: str, known: frozenset[Decimal]) -> str:
    """The first number of an equation that is neither a figure of the context nor a constant, "" for none.

    Of the 1,415 gold equations in TAT-QA's dev and test_gold, one has another.
    """
    try:
        found = list(equation.numbers(equation.read(written)))
    except equation.Unreadable:  # longer than a model may write it, once it is written out
        return f"{written[:60]}…"
    if not any(Decimal(digits) in known for digits in found):
        return found[0] if found else written
    return next((digits for digits in found if Decimal(digits) not in known and digits not in ("0", "1")), "")


if __name__ == "__main__":
    for each in (tool(), result_schema()):
        print(f"```json\n{json.dumps(each, indent=1, ensure_ascii=False)}\n```\n")
