"""EM, F1 and scale score by the authors' rules (NExTplusplus/TAT-QA at 870accc4, tatqa_metric.py and tatqa_utils.py).

A prediction file is `{question uid: [answer, scale]}`; an answer is a string, a number or a list of these. The rules,
restated:

1. An empty prediction (missing, "", [], null, 0) scores nothing, its scale neither.
2. Gold and prediction become one string each: items sorted as they are written, a number as `%.4f` of its value
   (rounded to two
   decimals) times its scale, a number with "%" as its fraction, a text with the scale word after it; joined by a space.
3. A single number without "%" and without a scale also counts as it is: 0.2212 matches 22.12 percent. The better of the
   two counts.
4. EM is equality of the normalised strings; F1 compares their sets of tokens, rounded to two decimals; for arithmetic
   and count it is EM.
5. The scale score is equality of the scale, for non-empty predictions.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import Stop
from pipeline.tatqa.schema import Answer, Question

_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000, "percent": 0.01}
_DRESSING = str.maketrans("", "", "'\"\\$€£¥%(),[]")
_PUNCTUATION = str.maketrans("", "", string.punctuation)

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?|[+-]?\.\d+")
_NEGATIVE = re.compile(r"\([\d.\s]+\)")  # (12.6), but not (1,234) and not ($12.6): the authors' rule, oddity included
_PERCENT = re.compile(r"[\d.\s]+%")
_WITH_WORD = re.compile(r"[\d.]+\s?[a-zA-Z]+")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


@dataclass(frozen=True)
class Score:
    """The scores of one question, each 0 to 1."""

    em: float
    f1: float
    scale: float


def score(gold: Answer, answer_type: str, gold_scale: str, prediction: object, scale: object) -> Score:
    """One prediction against one gold answer.

    Raises:
        Stop: a scale or an answer of a type that the authors' code would crash on.
    """
    if not prediction:
        return Score(0.0, 0.0, 0.0)
    if not isinstance(scale, str):
        raise Stop(
            "a scale: '', thousand, million, billion or percent", repr(scale), "the prediction", "write '' for no scale"
        )
    items: list[Any] = prediction if isinstance(prediction, list) else [prediction]
    if (
        any(isinstance(item, bool) or not isinstance(item, str | int | float) for item in items)
        or len({isinstance(item, str) for item in items}) > 1
    ):
        raise Stop(
            "a string, a number, or a list of all strings or all numbers",
            repr(prediction),
            "the prediction",
            "fix that answer",
        )
    try:
        return _compared(gold, answer_type, gold_scale, items, scale)
    except (OverflowError, ValueError) as error:  # digits without end
        raise Stop("a number that a float can hold", str(error), "the prediction", "fix that answer") from None


def _compared(gold: Answer, answer_type: str, gold_scale: str, items: list[Any], scale: str) -> Score:
    wanted = _joined(gold if isinstance(gold, list) else [str(gold)], gold_scale)
    offered = [_joined(items, scale)]
    alone = str(items[0])
    if (
        len(items) == 1
        and not scale
        and "%" not in alone
        and _is_number(alone)
        and (value := _value(alone)) is not None
    ):
        offered.append(f"{value:.4f}")
    em, f1 = max(_compare(text, wanted) for text in offered)
    return Score(em, em if answer_type in ("arithmetic", "count") else f1, float(scale == gold_scale))


def score_all(questions: Sequence[Question], predictions: Mapping[str, Any]) -> dict[str, Score]:
    """A score for every question, by uid; a question without a prediction scores nothing.

    Raises:
        Stop: an entry that is no [answer, scale] pair, or as `score`; names the question.
    """
    scores = {}
    for question in questions:
        entry = predictions.get(question.uid, [None, ""])
        if not isinstance(entry, list | tuple) or len(entry) != 2:
            raise Stop("[answer, scale]", repr(entry), f"the prediction of question {question.uid}", "fix that entry")
        try:
            scores[question.uid] = score(question.answer, question.answer_type, question.scale, *entry)
        except Stop as stop:
            raise Stop(stop.wanted, stop.found, f"{stop.where} of question {question.uid}", stop.todo) from None
    return scores


def mean(scores: Sequence[Score]) -> Score:
    """The mean of each part; zeros for no scores."""
    count = max(len(scores), 1)
    return Score(
        sum(s.em for s in scores) / count, sum(s.f1 for s in scores) / count, sum(s.scale for s in scores) / count
    )


def _joined(items: Sequence[str | int | float], scale: str) -> str:
    return " ".join(_written(str(item), scale) for item in sorted(items))


def _written(text: str, scale: str) -> str:
    value = _value(text) if _is_number(text) else None
    if value is None:
        return f"{text} {scale}" if scale else text
    if "%" in text:
        return f"{value:.4f}"
    return f"{round(value, 2) * _factor(scale):.4f}"


def _is_number(text: str) -> bool:
    words = " ".join(word.translate(_DRESSING) for word in text.split()).split()
    try:
        number = float(words[0]) if words else math.nan
    except ValueError:
        return False
    return not math.isnan(number) and (len(words) == 1 or _factor(words[1]) != 1)


def _value(text: str) -> float | int | None:
    """The number that a text means, or None. 12.5% is 0.125, (12.6) is -12.6, 3 million is 3000000."""
    found = _NUMBER.search(text.translate(_DRESSING))
    if found is None or found.group().lstrip("+-").startswith("."):
        return None
    digits = float(found.group()) if "." in found.group() else int(found.group())
    worded = _WITH_WORD.search(text)
    factor = _factor(worded.group()) if worded else 1
    sign = -1 if _NEGATIVE.search(text) else 1
    hundredth = 0.01 if _PERCENT.search(text) else 1
    return round(digits * factor * sign * hundredth, 4)


def _factor(text: str) -> float | int:
    return next((value for word, value in _SCALES.items() if word in text.lower()), 1)


def _compare(offered: str, wanted: str) -> tuple[float, float]:
    left, right = _normalise(offered), _normalise(wanted)
    a, b = set(left.split()), set(right.split())
    both = len(a & b)
    precision, recall = both / len(a) if a else 1.0, both / len(b) if b else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return float(left == right), round(f1, 2)


def _normalise(text: str) -> str:
    words = []
    for word in text.lower().split(" "):
        if not _is_number(word):
            word = word.translate(_PUNCTUATION)
        if _is_number(word):  # "#12" is one only now
            word = str(_value(word))
        words.append(" ".join(_ARTICLE.sub(" ", word).split()))
    return " ".join(word for word in words if word)
