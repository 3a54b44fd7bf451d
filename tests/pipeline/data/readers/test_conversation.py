"""Conversations: checked, with reasoning apart, and a row for each turn that is trained."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.readers import conversation
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop


def _said(*turns: tuple[str, str], **more: Any) -> conversation.Conversation:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **more}


def test_a_question_and_its_answer_are_one_row_with_the_fields_of_evaluation() -> None:
    (row,) = conversation.rows(_said(("system", "Be brief."), ("user", "a"), ("assistant", "β")), "train-1")
    assert row == {
        "instruction": "a",
        "input": "",
        "output": "β",
        "system": "Be brief.",
        "uid": "train-1",
        "context": "train-1",
        "answer": '["β"]',
        "answer_type": conversation.ANSWER_TYPE,
        "answer_from": "text",
        "scale": "",
    }


def test_every_assistant_turn_is_a_row_with_the_turns_before_it() -> None:
    said = _said(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    first, second = conversation.rows(said, "train-1")
    assert (first["output"], second["output"], second["instruction"]) == ("b", "d", "c")
    assert "messages" not in first and second["messages"] == said["messages"][:3]
    assert (first["uid"], second["uid"], second["context"]) == ("train-1.1", "train-1.3", "train-1")
    said["messages"][1]["train"] = False
    (only,) = conversation.rows(said, "train-1")
    assert (
        only["output"] == "d"
        and only["messages"] == _said(("user", "a"), ("assistant", "b"), ("user", "c"))["messages"]
    )


@pytest.mark.parametrize(
    ("content", "trace", "answer"),
    [
        ("<think>\n2 + 1\n</think>\n\n3", "2 + 1", "3"),
        ("<think></think>3", None, "3"),
        ("<think>\n\n</think>\n\n3", None, "3"),
        ("It writes <think> and </think>.", None, "It writes <think> and </think>."),
        ("3", None, "3"),
    ],
)
def test_a_reasoning_trace_is_kept_apart_and_an_empty_one_is_none(content: str, trace: str | None, answer: str) -> None:
    said = conversation.checked(_said(("user", "a"), ("assistant", content)), "f, row 0", Reading())
    assert said["messages"][1].get("reasoning_content") == trace
    (row,) = conversation.rows(said, "u")
    assert (row["output"], row.get("reasoning")) == (answer, trace)


def _answered(reading: Reading, content: str, **more: Any) -> conversation.Message:
    said = _said(("user", "a"), ("assistant", content))
    said["messages"][1] |= more
    message: conversation.Message = conversation.checked(said, "f, row 0", reading)["messages"][1]
    return message


@pytest.mark.parametrize(
    ("content", "given"),
    [
        ("<think>why</think>3", "why"),
        ("<think></think>3", "why"),
        ("3", "<think>\nwhy\n</think>"),
        ("why</think>3", "why"),
    ],
)
def test_a_trace_that_is_given_in_two_ways_is_kept_once(content: str, given: str) -> None:
    made = _answered(Reading(), content, reasoning_content=given)
    assert made == {"role": "assistant", "content": "3", "reasoning_content": "why"}


@pytest.mark.parametrize(
    ("content", "given", "found"),
    [
        ("<think>why</think>3", "because", "two that differ: reasoning_content, and <think> in the content"),
        ("<think>why 3", "", "<think> alone"),
        ("3", "why</think>so", "one with </think> in it"),
    ],
)
def test_traces_that_differ_or_do_not_end_are_refused(content: str, given: str, found: str) -> None:
    with pytest.raises(Stop) as stopped:
        _answered(Reading(), content, reasoning_content=given)
    assert stopped.value.found == found and "f, row 0, field 'messages[1]" in stopped.value.where


def test_think_tags_without_a_pair_are_counted() -> None:
    reading = Reading()
    assert _answered(reading, "why</think>\n\n3") == {"role": "assistant", "content": "3", "reasoning_content": "why"}
    assert _answered(reading, "It opens with <think>.")["content"] == "It opens with <think>."
    assert list(reading.lines()) == [
        "1 answers with </think> alone, whose text before it is taken as reasoning",
        "1 answers with <think> or </think> without the other, left as they are",
    ]


def test_turns_after_the_last_answer_are_left_out_and_counted() -> None:
    reading = Reading()
    said = conversation.checked(_said(("user", "a"), ("assistant", "b"), ("user", "c")), "f, row 0", reading)
    assert len(said["messages"]) == 2
    assert list(reading.lines()) == ["1 turns after the last answer, left out"]


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([("user", "a"), ("user", "b"), ("assistant", "c")], "messages[1]"),
        ([("assistant", "b"), ("user", "a"), ("assistant", "c")], "wanted: user or tool before assistant"),
        ([("user", "a"), ("system", "b"), ("assistant", "c")], "a system message at the start only"),
        ([("user", "a"), ("assistant", " ")], "messages[1].content"),
        ([("user", " "), ("assistant", "a")], "messages[0].content"),
        ([("user", "a")], "a turn of the assistant to train on"),
    ],
)
def test_roles_out_of_order_are_refused_by_row_and_field(turns: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        conversation.checked(_said(*turns), "f, row 3", Reading())
    assert message in str(stopped.value) and "f, row 3" in stopped.value.where


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("tool_calls", "\ud83d"),
        ("tool_calls", {"\ud83d": 1}),
        ("reasoning_content", "\ud83d"),
        ("name", "\ud83d"),
        ("tools", "\ud83d"),
        ("tool_calls", math.nan),
        ("tool_calls", datetime.date(2026, 1, 1)),
    ],
)
def test_what_a_raw_split_cannot_hold_is_refused(place: str, value: Any) -> None:
    said = _said(("user", "a"), ("assistant", "b"))
    function = {"name": "f", "arguments": {"a": value}}
    if place == "tools":
        said["tools"] = [{"type": "function", "function": {"name": "f", "description": value}}]
    else:
        said["messages"][1][place] = [{"type": "function", "function": function}] if place == "tool_calls" else value
    with pytest.raises(Stop) as stopped:
        conversation.checked(said, "f, row 3", Reading())
    wanted = "text that UTF-8 can write" if "ud83d" in repr(value) else "values that JSON can write"
    where = f"f, row 3, field {'tools' if place == 'tools' else 'messages[1]'!r}"
    assert (stopped.value.wanted, stopped.value.where) == (wanted, where)


def test_conversations_are_compared_by_all_but_their_last_answer() -> None:
    one = _said(("system", "x"), ("user", "a"), ("assistant", "b"))
    other = _said(("user", "a"), ("assistant", "c"))
    longer = _said(("user", "a"), ("assistant", "c"), ("user", "d"), ("assistant", "e"))
    assert conversation.question(one) == conversation.question(other) != conversation.question(longer)


def test_a_raw_split_is_read_back_and_a_missing_one_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"messages": []}\n{"messages": [1]}\n')
    assert list(conversation.read(file)) == [{"messages": []}, {"messages": [1]}]
    with pytest.raises(Stop, match="No such file"):
        list(conversation.read(tmp_path / "none.jsonl"))
