"""What a model is trained to write, and reading it back.

`answer` is the seed project's: the answer and its scale, `-12.6 million`. From `equation` the answer is computed:

    type: arithmetic
    evidence: 44.1 ; 56.7
    equation: 44.1 - 56.7
    scale: million

Evidence is verbatim from table and notes, with its name where the table is written with names (figures.py). For a span
it is the answer, for a count its items are counted. A number in parentheses is negative, as reports print it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from pipeline.tatqa import equation, figures
from pipeline.tatqa.equation import Unreadable
from pipeline.tatqa.figures import Names
from pipeline.tatqa.language import LANGUAGES, SEPARATOR
from pipeline.tatqa.metric import score
from pipeline.tatqa.schema import Answer

TARGETS = ("answer", "equation")


@dataclass(frozen=True)
class Said:
    """A model's text as a prediction: answer and scale, or a `problem` that says why there is none."""

    answer: str | list[str]
    scale: str
    problem: str = ""
    # of the target "equation", for whoever shows where an answer comes from
    kind: str = field(default="", compare=False)  # one of schema.ANSWER_TYPES
    evidence: tuple[str, ...] = field(default=(), compare=False)
    equation: str = field(default="", compare=False)


@dataclass(frozen=True)
class Task:
    """A question's gold side, and the figures of its context, as `figures.by_digits` finds them."""

    answer: Answer
    answer_type: str
    scale: str
    derivation: str
    figures: Mapping[Decimal, str]
    currency: str = ""  # as language.Language.currency names it
    gold: Answer | None = None  # the answer in the file, where `answer` is normalized; it is the one that is scored
    names: Names = field(default_factory=dict)  # of cells and figures, where the table is written with names
    question: str = ""  # which of several equal cells is meant


def write(task: Task, language: str, target: str) -> tuple[str, str]:
    """The text to train on, and why it is the plain answer although `target` is "equation" (else "")."""
    plain = write_answer(task.answer, task.scale, language, task.currency)
    if target == "answer":
        return plain, ""
    context = "\n".join(written for each in task.names.values() for written in each)
    try:
        text = _lines(task, language)
        if task.names and lost(text, task, language, context):
            text = _lines(replace(task, names={}), language)
    except Unreadable as error:
        return plain, str(error)
    return (plain, because) if (because := lost(text, task, language, context)) else (text, "")


def lost(text: str, task: Task, language: str, context: str) -> str:
    """What a target reads back as if that is not the gold answer, else ""."""
    said = read(text, language, context)
    gold = task.answer if task.gold is None else task.gold
    if said.scale == task.scale and _scores(said.answer, gold, task.answer_type, task.scale):
        return ""
    return said.problem or f"it reads back as {said.answer!r} {said.scale}".rstrip()


def _scores(said: str | list[str], gold: Answer, answer_type: str, scale: str) -> bool:
    """Whether an answer is the gold one by the authors' rules; most are equal."""
    if (
        said == gold
        or [said] == gold
        or (said and isinstance(gold, int | float) and isinstance(said, str) and Decimal(said) == Decimal(repr(gold)))
    ):
        return bool(said)
    return bool(score(gold, answer_type, scale, said, scale).em)


def write_answer(answer: Answer, scale: str, language: str, currency: str = "") -> str:
    """The answer with its scale: `-12.6 百万美元`, `-12.6 million`, `Leeds ; Lyon`."""
    if isinstance(answer, list):
        text = SEPARATOR.join(answer)
    elif isinstance(answer, str):
        text = answer
    else:
        text = format(Decimal(repr(answer)), "f")  # 1e-05 and 1e+16 in plain digits
    return f"{text} {LANGUAGES[language].scale(scale, currency)}".strip()


def gold_equation(answer: Answer, scale: str, derivation: str) -> str:
    """The derivation as an equation that evaluates straight to the gold answer.

    A percentage's derivation may or may not have its factor 100; whichever reading gives the gold answer is written
    out.

    Raises:
        Unreadable: no reading gives it; the message has what the first one gives.
    """
    given = ""
    for tree in equation.readings(derivation):
        hundredfold = [equation.times(tree, "100")] if scale == "percent" else []
        for candidate in (tree, *hundredfold, equation.over(tree, "100")):
            text = equation.written(candidate)
            try:
                result = equation.answer(equation.value(candidate))
            except Unreadable as error:
                given = given or str(error)
                continue
            if _scores(result, answer, "arithmetic", scale):
                return text
            given = given or f"{text} = {result}, not {answer}"
    raise Unreadable(given)


def _lines(task: Task, language: str) -> str:
    words = LANGUAGES[language]
    sum_ = ""
    if task.answer_type == "arithmetic":
        sum_ = gold_equation(task.answer, task.scale, task.derivation)
        evidence = [
            found for digits in equation.numbers(equation.read(sum_)) if (found := task.figures.get(Decimal(digits)))
        ]
    elif task.answer_type == "count":
        evidence = [item.strip() for item in task.derivation.split("##")]
    else:
        evidence = list(task.answer) if isinstance(task.answer, list) else [str(task.answer)]
    named = [figures.with_name(item, task.names, task.question) for item in evidence]
    lines = {
        "type": words.types[task.answer_type],
        "evidence": SEPARATOR.join(dict.fromkeys(named) if sum_ else named),
        "equation": sum_,
        "scale": words.scale(task.scale, task.currency) or words.no_scale,
    }
    return "\n".join(
        f"{words.labels[name]}{words.colon}{' '.join(text.split())}"
        for name, text in lines.items()
        if text or name != "equation"
    )


def read(text: str, language: str, context: str) -> Said:
    """A model's text as answer and scale; `context` is what it was asked about, as text.

    Labels identify the lines of the target "equation"; a text without them is a plain answer.
    """
    words, lines = LANGUAGES[language], _labelled(text, language)
    if not lines.keys() & {"type", "evidence", "equation"}:
        return read_answer(text, language, context)
    scales = {(word or words.no_scale).lower(): name for name, word in words.scale_words()}
    scale = scales.get(lines.get("scale", "").lower())
    if scale is None:
        return Said("", "", f"no scale: {lines.get('scale', 'the line is missing')!r}")
    kinds = {word.lower(): name for name, word in words.types.items()}
    kind = kinds.get(lines.get("type", "").lower(), "arithmetic" if "equation" in lines else "multi-span")
    evidence = [figures.without_name(item, context) for item in evidence_as_written(text, language)]
    if kind == "arithmetic":
        if not lines.get("equation"):
            return Said("", scale, "no equation")
        try:
            tree = equation.read(lines["equation"])
            result = equation.answer(equation.value(tree))
        except Unreadable as error:
            return Said("", scale, f"the equation: {error}")
        return Said(result, scale, "", kind, tuple(evidence), equation.written(tree))
    if not evidence:
        return Said("", scale, "no evidence")
    if kind == "count":
        return Said(str(len(evidence)), scale, "", kind, tuple(evidence))
    if kind == "span" or len(evidence) == 1:
        return Said(SEPARATOR.join(evidence), scale, "", "span", tuple(evidence))
    return Said(evidence, scale, "", kind, tuple(evidence))


def evidence_as_written(text: str, language: str) -> list[str]:
    """The evidence in a model's text, with the names that `Said.evidence` leaves out."""
    items = (item.strip() for item in _labelled(text, language).get("evidence", "").split(SEPARATOR))
    return [item for item in items if item]


def _labelled(text: str, language: str) -> dict[str, str]:
    """The labelled lines of a text; the first line of each label counts."""
    labels = {label: name for name, label in LANGUAGES[language].labels.items()}
    pattern = rf"\s*({'|'.join(labels)})\s*[:：]\s*(.*?)\s*"
    found = [match.groups() for line in text.splitlines() if (match := re.fullmatch(pattern, line, re.IGNORECASE))]
    return {labels[label.lower()]: value for label, value in reversed(found)}


def read_answer(text: str, language: str, context: str) -> Said:
    """A plain answer, the inverse of `write_answer`: a scale word at its end is the scale.

    Unless the context contains the whole text and it is more than digits: "$9.8 million" is a span then, without scale.
    """
    text = " ".join(text.split())
    scale = ""
    for name, word in LANGUAGES[language].scale_words():
        if word and text.endswith(f" {word}"):
            bare = text[: -len(word) - 1].rstrip()
            last = text.rpartition(SEPARATOR)[2]
            if re.fullmatch(r"-?[\d.]+", bare) or last.casefold() not in " ".join(context.split()).casefold():
                text, scale = bare, name
            break
    parts = [part.strip() for part in text.split(SEPARATOR) if part.strip()]
    return Said(parts if len(parts) > 1 else text, scale, "" if text else "an empty text")
