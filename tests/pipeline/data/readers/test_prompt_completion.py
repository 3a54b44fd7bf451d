"""Prompts with completions, as texts or as messages; questions with answers."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.data.readers import prompt_completion
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop

ASKED, SAID = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        ({"prompt": "a", "completion": "b"}, [ASKED, SAID]),
        ({"prompt": "a", "response": "b"}, [ASKED, SAID]),
        ({"question": "a", "answer": "b"}, [ASKED, SAID]),
        ({"question": "a", "context": "c", "answer": 3}, [{**ASKED, "content": "c\na"}, {**SAID, "content": "3"}]),
        ({"prompt": "a", "completion": "b", "system": "s"}, [{"role": "system", "content": "s"}, ASKED, SAID]),
        ({"prompt": [ASKED], "completion": [SAID]}, [ASKED, SAID]),
        ({"prompt": [ASKED], "completion": "b"}, [ASKED, SAID]),
        ({"prompt": [ASKED], "completion": "b", "system": "s"}, [{"role": "system", "content": "s"}, ASKED, SAID]),
        ({"prompt": [ASKED], "completion": [SAID], "system": "s"}, [{"role": "system", "content": "s"}, ASKED, SAID]),
    ],
)
def test_forms_of_a_prompt(row: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    assert prompt_completion.read(row, "f, row 0", Reading())["messages"] == messages


def test_tools_of_a_text_prompt_are_kept() -> None:
    tool = {"name": "rate", "parameters": {}}
    read = prompt_completion.read({"prompt": "a", "completion": "b", "tools": [tool]}, "f, row 0", Reading())
    assert read["tools"] == [{"type": "function", "function": tool}]


def test_keys_of_messages_that_are_not_used_are_counted() -> None:
    reading = Reading()
    row = {"prompt": [{**ASKED, "mood": "good"}], "completion": [{**SAID, "score": 3}], "source": "x"}
    prompt_completion.read(row, "f, row 0", reading)
    assert dict(reading.unknown) == {"source": 1, "mood": 1, "score": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a"}, "field 'completion'"),
        ({"completion": "a"}, "field 'prompt'"),
        ({"prompt": "a", "completion": [SAID]}, "a text, since the prompt is one"),
        ({"prompt": [ASKED], "completion": [SAID], "context": "c"}, "field 'context'"),
        ({"prompt": [{**ASKED, "role": "system"}, ASKED], "completion": "b", "system": "s"}, "one system message"),
    ],
)
def test_half_a_row_is_refused_by_field(row: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        prompt_completion.read(row, "f, row 3", Reading())
    assert message in str(stopped.value)


def test_a_column_of_traces_is_read_as_the_trace_of_the_answer() -> None:
    asked, answered = [{"role": "user", "content": "a"}], [{"role": "assistant", "content": "b"}]
    rows: list[dict[str, Any]] = [
        {"question": "a", "answer": "b", "reasoning": "why"},
        {"prompt": asked, "completion": answered, "reasoning_content": "why"},
    ]
    for row in rows:
        reading = Reading()
        assert prompt_completion.read(row, "f, row 0", reading)["messages"][-1]["reasoning_content"] == "why"
        assert not reading.unknown
    answered = [{"role": "assistant", "content": "b", "reasoning_content": "other"}]
    with pytest.raises(Stop, match="one reasoning trace"):
        prompt_completion.read({**rows[1], "completion": answered}, "f, row 0", Reading())
