"""Ask the newest merged model about one context.

python -m pipeline ask --context 3                              # its first question, of the evaluation split
python -m pipeline ask --context 3 --question "How many …?"
python -m pipeline ask --file context.json --question "…"       # a table with its notes, in TAT-QA's schema
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import job
from pipeline.data import format as formatting
from pipeline.errors import Stop
from pipeline.evaluation.generate import answers
from pipeline.models import chat_template, load
from pipeline.recipe import Recipe
from pipeline.sources import splits
from pipeline.tatqa import prompt, schema, target, truncate
from pipeline.tatqa.target import Said


@dataclass(frozen=True)
class Answered:
    """A question, the model's answer and the gold one, if the context has it."""

    asked: str  # table, notes and question as the model read them
    left_out: str  # of the context, in words; "" for nothing
    text: str  # as the model wrote it
    said: Said
    gold: str


def merged_model(recipe: Recipe) -> Path:
    """The newest merged model of a recipe.

    Raises:
        Stop: there is none.
    """
    found = sorted(job.runs(recipe.name).glob("[0-9]*/merged/model*.safetensors"))
    if not found:
        raise Stop(f"a merged model of {recipe.name}", "none", str(job.runs(recipe.name)), "invoke export")
    return found[-1].parent


def ask(recipe: Recipe, merged: Path, context: schema.Context, question: str) -> Answered:
    """One answer. An empty `question` stands for the context's own first one.

    Raises:
        Stop: no question given and none in the context, or one that is too long by itself.
    """
    own = {each.text: each for each in context.questions}
    if not question and not own:
        raise Stop(
            "a question",
            "none given and none in the context",
            "the command line",
            'invoke ask --file FILE --question "…"',
        )
    question = question or next(iter(own))
    talker = chat_template.chat(chat_template.load_tokenizer(merged), merged)
    row, left_out = _fitting(recipe, talker, prompt.in_plain_characters(context, Counter()), question)
    kind, _ = load.precision(recipe)
    loaded = load.load_base(merged, load.DTYPES[kind])
    text = answers(loaded, talker, [row], formatting.answer_limit(recipe), 1)[0] or ""
    gold = (
        target.write_answer(own[question].answer, own[question].scale, recipe.data.language) if question in own else ""
    )
    return Answered(row["input"], left_out, text, target.read(text, recipe.data.language, row["input"]), gold)


def _fitting(
    recipe: Recipe, talker: chat_template.Chat, context: schema.Context, question: str
) -> tuple[dict[str, Any], str]:
    """The row to answer, of a context cut as evaluation cuts it where it is too long, and what was left out, in words."""
    limit = recipe.training.max_length

    def row(of: schema.Context) -> dict[str, Any]:
        return prompt.question_row(of, question, formatting.style(recipe))

    def fits(of: schema.Context) -> bool:
        return len(talker.prompts([row(of)])[0]) <= limit

    if fits(context):
        return row(context), ""
    asked = schema.Question("", question, "", "span", "text", "", "", ())
    cut = truncate.cut(replace(context, questions=(asked,)), fits, training=False)
    if cut is None or not fits(cut.context):
        raise Stop(
            f"a question of at most {limit} tokens, with the heading of its table",
            "a longer one",
            "the question",
            "ask less, or raise training.max_length",
        )
    return row(
        cut.context
    ), f"{cut.notes} notes and {cut.rows} rows left out: longer than training.max_length = {limit} tokens"


def context_of_data(recipe: Recipe, number: int) -> schema.Context:
    """Context `number`, from 0, of the evaluation split.

    Raises:
        Stop: there is none of that number.
    """
    path = job.raw_split(recipe, splits(recipe)[1])
    if path.suffix == ".jsonl":
        raise Stop(
            "contexts with a table",
            "rows of instruction, input and output",
            str(path),
            'invoke ask --file FILE --question "…"',
        )
    count = 0
    for context in schema.read(path):
        if count == number:
            return context
        count += 1
    raise Stop(f"a context from 0 to {count - 1}", str(number), str(path), "invoke ask --context 0")


def context_of_file(path: Path) -> schema.Context:
    """The context of a JSON file: one object with table and paragraphs, questions if it has any.

    Raises:
        Stop: as `schema.parse`.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise Stop(
            "a context in JSON", str(error).splitlines()[0], str(path), "pass a file in TAT-QA's raw schema"
        ) from None
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if isinstance(raw, list):
        raise Stop("one context", f"a list of {len(raw)}", str(path), "pass one of them in a file of its own")
    if isinstance(raw, dict):
        raw.setdefault("questions", [])
    return schema.parse([raw], str(path))[0]
