"""Scores of predictions, by answer type and by source of the answer, as tables and as JSON.

python -m pipeline score --predictions predictions.json --gold tatqa_dataset_dev.json [--json]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import json_stream
from pipeline import table as tables
from pipeline.errors import Stop
from pipeline.tatqa import schema
from pipeline.tatqa.metric import Score, mean, score_all


@dataclass(frozen=True)
class Scored:
    """One question's scores, and the groups it counts in."""

    uid: str
    answer_type: str
    answer_from: str
    score: Score
    answered: bool = True


def score_file(predictions: Path, gold: Path) -> tuple[list[Scored], str]:
    """Scores of every question of a raw gold file, and a note on what counts against a prediction file, or "".

    These are questions that only one of the files has, and predictions without a scale.

    Raises:
        Stop: a file that is missing or broken, a prediction that the authors' scorer would crash on, or none for any
        question of `gold`.
    """
    questions = [question for context in schema.load(gold) for question in context.questions]
    if not questions:
        raise Stop("questions with gold answers", "none", str(gold), "pass a file in TAT-QA's raw schema with --gold")
    given, unscaled = read_predictions(predictions)
    known = {question.uid for question in questions}
    strange, lacking = given.keys() - known, known - given.keys()
    if len(strange) == len(given):
        raise Stop(
            f"predictions for questions of {gold.name}",
            f"none among {len(given)}",
            str(predictions),
            "pass the gold file that they were made for",
        )
    try:
        scores = score_all(questions, given)
    except Stop as stop:
        raise Stop(stop.wanted, stop.found, f"{predictions}, {stop.where}", stop.todo) from None
    notes = (
        [f"{len(strange)} predictions are for questions that {gold.name} does not have: not counted"] if strange else []
    )
    notes += [f"{len(lacking)} questions have no prediction: they score nothing"] if lacking else []
    if unscaled:
        lost = sum(question.uid in unscaled and bool(question.scale) for question in questions)
        note = f"{len(unscaled)} predictions have no scale, which is read as none"
        notes.append(f"{note}: {lost} of them are for questions with one, and score nothing" if lost else note)
    scored = [
        Scored(each.uid, each.answer_type, each.answer_from, scores[each.uid], each.uid in given) for each in questions
    ]
    return scored, "; ".join(notes)


def read_predictions(path: Path) -> tuple[dict[str, Any], set[str]]:
    """A prediction file as `{question uid: [answer, scale]}`, the authors' form, and the uids that lack a scale in it.

    It may also be a list, or JSON lines, of `{"uid", "prediction", "scale"}`.

    Raises:
        Stop: missing, none of these forms, or a duplicate uid.
    """
    wanted = '{"question uid": [answer, scale]}, or a list or lines of {"uid", "prediction", "scale"}'
    todo = "pass predictions in the authors' format, such as a run's predictions.json"
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
        lines = [line for line in text.split("\n") if line.strip()]  # not `splitlines`: a text may have a U+2028
        of_lines = len(lines) > 1 and json_stream.is_json(lines[0])
        read = [json_stream.parse(line) for line in lines] if of_lines else json_stream.parse(text)
    except OSError as error:
        raise Stop(wanted, error.strerror or str(error), str(path), todo) from None
    except ValueError as error:
        raise Stop(wanted, str(error).splitlines()[0][:200], str(path), todo) from None
    if isinstance(read, dict) and isinstance(read.get("uid"), str):
        read = [read]  # one line
    if isinstance(read, list):
        return _by_uid(read, path, wanted)
    if not isinstance(read, dict):
        raise Stop(wanted, f"{type(read).__name__}: {str(read)[:60]}", str(path), todo)
    return read, set()


def _by_uid(items: list[Any], path: Path, wanted: str) -> tuple[dict[str, Any], set[str]]:
    read: dict[str, Any] = {}
    unscaled = set()
    for number, item in enumerate(items):
        place = f"{path}, prediction {number}"
        uid = item.get("uid") if isinstance(item, dict) else None
        answer = next((item[name] for name in ("prediction", "answer") if name in item), None) if uid else None
        if not isinstance(uid, str) or answer is None:
            raise Stop(wanted, str(item)[:80], place, "give each prediction a uid and a prediction")
        if uid in read:
            raise Stop("one prediction for each question", f"{uid} twice", place, "drop one of the two")
        scale = item.get("scale")
        if scale is None:
            unscaled.add(uid)
        read[uid] = [answer, "" if scale is None else scale]
    return read, unscaled


def as_json(scored: Sequence[Scored]) -> dict[str, Any]:
    """The means and each question's scores, fractions of one; and the means of those answered, if not all are."""
    answered = [each.score for each in scored if each.answered]
    part = {"answered": _mean(answered)} if len(answered) < len(scored) else {}
    questions = {each.uid: vars(each.score) for each in scored}
    return {**vars(mean([each.score for each in scored])), **part, "questions": questions}


def summary(scored: Sequence[Scored]) -> dict[str, Any]:
    """Number of questions and mean scores: of all, by answer type, and by type and source, as the authors' tables.

    Where some questions have no prediction, also of those that have one.
    """
    groups: dict[str, list[Score]] = {"all": [each.score for each in scored]}
    if not all(each.answered for each in scored):
        groups["answered"] = [each.score for each in scored if each.answered]
    types = sorted({each.answer_type for each in scored}, key=_rank(schema.ANSWER_TYPES))
    for kind in types:
        groups[kind] = [each.score for each in scored if each.answer_type == kind]
    cells: dict[str, Any] = {}
    for kind in types:
        chosen = [each for each in scored if each.answer_type == kind]
        sources = sorted({each.answer_from for each in chosen}, key=_rank(schema.ANSWER_SOURCES))
        cells[kind] = {
            source: _mean([each.score for each in chosen if each.answer_from == source]) for source in sources
        }
    return {**{name: _mean(scores) for name, scores in groups.items()}, "by_source": cells}


def _rank(order: tuple[str, ...]) -> Any:
    return lambda name: (order.index(name) if name in order else len(order), name)


def _mean(scores: list[Score]) -> dict[str, Any]:
    return {"questions": len(scores), **vars(mean(scores))}


def table(found: dict[str, Any]) -> str:
    """One model's summary in points of 100."""
    rows = [["", "questions", "EM", "F1", "scale"]]
    for name, values in found.items():
        if name != "by_source":
            rows.append(_row(name, values))
            rows += [_row(f"  {source}", each) for source, each in found["by_source"].get(name, {}).items()]
    return tables.render(rows)


def _row(name: str, values: dict[str, Any]) -> list[str]:
    return [name, str(values["questions"]), *(f"{100 * values[key]:.2f}" for key in ("em", "f1", "scale"))]
