"""What a generated text says, and its scores against the gold answer of its row."""

from __future__ import annotations

import json
from typing import Any

from pipeline.data.readers import conversation
from pipeline.errors import Stop
from pipeline.models import reasoning, tool_calls
from pipeline.tatqa import target
from pipeline.tatqa.metric import Score, score
from pipeline.tatqa.target import Said


def judge(row: dict[str, Any], text: str, language: str) -> tuple[Said, Score]:
    """What a text says after its reasoning trace, and its scores; an answer that cannot be scored is a wrong one.

    Args:
        row: a formatted row, with its gold answer.
        language: of the recipe's data.
    """
    plain = row["answer_type"] in (conversation.ANSWER_TYPE, conversation.CALL_TYPE)
    text = reasoning.split(text)[1]
    said = Said(text, "") if plain else target.read(text, language, row["input"])
    if row["answer_type"] == conversation.CALL_TYPE and _calls_the_same(row, text):
        return said, Score(1.0, 1.0, 1.0)
    try:
        return said, score(json.loads(row["answer"]), row["answer_type"], row["scale"], said.answer, said.scale)
    except Stop as stop:  # such as four hundred digits: a wrong answer, and the others are still scored
        return Said("", said.scale, f"wanted {stop.wanted}"), Score(0.0, 0.0, 0.0)


def _calls_the_same(row: dict[str, Any], text: str) -> bool:
    """Whether a text's calls are those of the row by value, so that order and spaces are free."""
    return tool_calls.same(tool_calls.read(text), tool_calls.given(row["tool_calls"]))
