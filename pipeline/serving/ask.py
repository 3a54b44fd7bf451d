"""Ask the newest merged model about one context.

python -m pipeline ask --context 3                              # its first question, of the evaluation split
python -m pipeline ask --context 3 --question "How many …?"
python -m pipeline ask --file context.json --question "…"       # a table with its notes, in TAT-QA's schema
python -m pipeline ask --file table.csv --question "…"          # a table alone
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.data.format import style
from pipeline.data.readers import delimited, records, tatqa
from pipeline.errors import Stop
from pipeline.generation.generate import answers
from pipeline.models import chat_template, load, reasoning
from pipeline.models.chat_template import ChatTemplate
from pipeline.recipe import Recipe
from pipeline.serving.marked import Evidence
from pipeline.tatqa import figures, prompt, schema, target, truncate
from pipeline.tatqa.language import LANGUAGES
from pipeline.tatqa.normalize import plain
from pipeline.tatqa.target import Said


@dataclass(frozen=True)
class Answered:
    """A question, the model's answer, and the gold one if the context has it."""

    question: str
    asked: str  # table, notes and question as the model read them
    left_out: str  # what was left out of the context, in words; "" for nothing
    text: str  # as the model wrote it
    said: Said  # read from it
    answer: str  # the same in words, with its scale
    kind: str  # answer type; "" where neither labelled lines nor the context tell it
    evidence: tuple[Evidence, ...]
    gold: schema.Question | None
    gold_answer: str  # in words; "" for none

    @property
    def problem(self) -> str:
        """Why there is no answer, else ""."""
        return self.said.problem

    def as_text(self, asked: str = "", more: Sequence[str] = ()) -> str:
        """For a person: what was asked, what the model wrote, and the answer.

        Args:
            asked: instead of what the model read.
            more: lines before the answer.
        """
        lines = [f"ask    {self.left_out}"] if self.left_out else []
        lines += [asked or self.asked, *([self.text] if self.text != self.answer else []), *more]
        gold = f"   (gold: {self.gold_answer})" if self.gold_answer else ""
        said = f"none: {self.problem}" if self.problem else self.answer  # which may be a scale alone
        return "\n".join([*lines, f"Answer: {said}{gold}"])

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        given = None
        if self.gold and self.gold_answer:
            given = {"answer": self.gold.answer, "scale": self.gold.scale, "answer_type": self.gold.answer_type}
        return {
            "question": self.question,
            "answer": None if self.problem else self.said.answer,
            "scale": self.said.scale,
            "answer_type": self.kind,
            "evidence": [each.text for each in self.evidence],
            "equation": self.said.equation,
            "problem": self.problem,
            "gold": given,
            "left_out": self.left_out,
            "text": self.text,
        }


class Asker:
    """Asks a merged model, which is loaded once, when it is first needed."""

    def __init__(self, recipe: Recipe, merged: Path, answer_tokens: int) -> None:
        """Args:
        answer_tokens: at which an answer is cut off.
        """
        self._recipe, self._merged, self._tokens = recipe, merged, answer_tokens

    @functools.cached_property
    def template(self) -> ChatTemplate:
        """The model's chat template.

        Raises:
            Stop: as `chat_template.load`.
        """
        return chat_template.load(self._merged)

    @functools.cached_property
    def model(self) -> Any:
        """The model.

        Raises:
            Stop: as `load.load_base`.
        """
        precision, _ = load.precision(self._recipe.training.precision)
        return load.load_base(self._merged, load.DTYPES[precision])

    def load(self) -> None:
        """Load template and model now.

        Raises:
            Stop: as they.
        """
        _ = self.template, self.model

    def ask(self, context: schema.Context, question: str) -> Answered:
        """Ask one question; an empty `question` means the context's own first one.

        Raises:
            Stop: no question given and none in the context, or one that is too long by itself.
        """
        own = {each.text: each for each in context.questions}
        if not question and not own:
            found, todo = "none given and none in the context", 'invoke ask --file FILE --question "…"'
            raise Stop("a question", found, "the command line", todo)
        question = question or next(iter(own))
        recipe, language = self._recipe, self._recipe.data.language
        asked = plain(question, Counter()).strip()
        row, left_out = _fitting(recipe, self.template, in_plain_characters(context), asked)
        text = answers(self.model, self.template, [row], self._tokens, 1)[0] or ""
        gold = own.get(question)
        answer = reasoning.split(text)[1]
        said = target.read(answer, language, row["input"])
        currency = LANGUAGES[language].currency(row["input"])
        in_words = target.write_answer(said.answer, said.scale, language, currency)
        told = target.write_answer(gold.answer, gold.scale, language, currency) if gold and gold.answer != "" else ""
        kind, evidence = _evidence(said, answer, row["input"].removesuffix(asked), language)
        return Answered(question, row["input"], left_out, text, said, in_words, kind, evidence, gold, told)


def in_plain_characters(context: schema.Context) -> schema.Context:
    """A context with the characters that the model reads."""
    return prompt.in_plain_characters(context, Counter())


def _evidence(said: Said, text: str, context: str, language: str) -> tuple[str, tuple[Evidence, ...]]:
    """The type of an answer, and what it is from; a plain answer that table and notes have is its own evidence.

    The type of any other plain answer is "".
    """
    if said.kind:
        written = target.evidence_as_written(text, language)
        return said.kind, tuple(Evidence(*each) for each in zip(said.evidence, written, strict=True))
    spans = said.answer if isinstance(said.answer, list) else [said.answer]
    finders = [figures.finder(span) for span in spans]
    if said.problem or not all(finder and finder.search(context) for finder in finders):
        return "", ()
    return "span" if len(spans) == 1 else "multi-span", tuple(Evidence(span, span) for span in spans)


def _fitting(
    recipe: Recipe, template: ChatTemplate, context: schema.Context, question: str
) -> tuple[dict[str, Any], str]:
    """The row to answer, of a context truncated as for evaluation, and what was left out, in words."""
    limit = recipe.training.max_length

    def row(of: schema.Context) -> dict[str, Any]:
        return prompt.question_row(of, question, style(recipe.data))

    def fits(of: schema.Context) -> bool:
        return len(template.prompts([row(of)])[0]) <= limit

    if fits(context):
        return row(context), ""
    cut = truncate.cut(replace(context, questions=(_open(question),)), fits, training=False)
    if cut is None or not fits(cut.context):
        wanted, todo = (
            f"a question of at most {limit} tokens, with the heading of its table",
            "ask less, or raise training.max_length",
        )
        raise Stop(wanted, "a longer one", "the question", todo)
    left_out = f"{cut.notes} notes and {cut.rows} rows left out: longer than training.max_length = {limit} tokens"
    return row(cut.context), left_out


def context_of_data(path: Path, number: int) -> schema.Context:
    """Context `number`, from 0, of a raw split.

    Raises:
        Stop: there is none of that number.
    """
    if path.suffix == ".jsonl":
        found, todo = "rows of instruction, input and output", 'invoke ask --file FILE --question "…"'
        raise Stop("contexts with a table", found, str(path), todo)
    count = 0
    for context in schema.read(path):
        if count == number:
            return context
        count += 1
    raise Stop(f"a context from 0 to {count - 1}", str(number), str(path), "invoke ask --context 0")


def context_of_file(path: Path) -> schema.Context:
    """The context of a JSON file: one object with a table; paragraphs, questions and uids if it has any.

    A question may have no answer: it is there to be asked. A list of rows, or a CSV file, is a table alone.

    Raises:
        Stop: no such file, or as `schema.check`.
    """
    faults: list[Stop] = []
    kind, placed = records.read(path, faults.append)
    if kind.startswith("CSV"):
        raw: Any = {"table": delimited.table(path)}
    else:
        items = [item for _, item in itertools.islice(placed, 2)]
        if not items:
            raise Stop("a context with a table", "an empty list", str(path), "pass one context, or a CSV file")
        rows = all(isinstance(item, list) for item in items)
        raw = {"table": [item for _, item in records.read(path, faults.append)[1]]} if rows else items[0]
        if len(items) > 1 and not rows:
            raise Stop("one context", "a list of several", str(path), "pass one of them in a file of its own")
    if faults:
        raise faults[0]
    if not isinstance(raw, dict):
        raise Stop("a context with a table", str(raw)[:60], str(path), "pass an object with a table, or a CSV file")
    return _with_open_questions(raw, path)


def _with_open_questions(raw: dict[str, Any], path: Path) -> schema.Context:
    """The context of an object, with all its questions in their order; an answer of "" stands for none.

    Raises:
        Stop: a question without a text, or as `schema.check`.
    """
    if "question" in raw and "questions" not in raw:
        raw = {**raw, "questions": [{key: raw[key] for key in raw.keys() - {"table", "paragraphs", "uid"}}]}
    context = schema.check(tatqa.unanswered(raw, str(path)), str(path))
    answered = iter(context.questions)
    questions = []
    for number, each in enumerate(raw.get("questions") or ()):
        if isinstance(each, dict) and each.get("answer") not in (None, "", []):
            questions.append(next(answered))
            continue
        text = each.get("question") if isinstance(each, dict) else each
        if not isinstance(text, str) or not text.strip():
            raise Stop("a question", repr(each)[:60], f"{path}, question {number}", "fix that question")
        questions.append(_open(text))
    return replace(context, questions=tuple(questions))


def _open(text: str) -> schema.Question:
    """A question without an answer."""
    return schema.Question("", text, "", "span", "text", "", "", ())
