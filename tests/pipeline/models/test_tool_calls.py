"""Calls in a model's text: what is read, what is valid, and what is the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.data.sample_tools_words import CONVERT, LOOK_UP
from pipeline.models import tool_calls
from pipeline.models.tool_calls import Call

ARGUMENTS: dict[str, Any] = {"company": "Harlow", "year": 2021, "item": "revenue"}
GOLD = Call("look_up_report", ARGUMENTS)


def _written(arguments: str, name: str = "look_up_report") -> str:
    return f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'


@pytest.mark.parametrize(
    "text",
    [
        _written(json.dumps(ARGUMENTS)),
        f"I look it up.\n{_written(json.dumps(ARGUMENTS, indent=1))}",
        _written('{"year": 2021.0, "item": "revenue", "company": "Harlow"}'),
        json.dumps({"name": "look_up_report", "parameters": ARGUMENTS}),  # Llama
        f"[TOOL_CALLS] {json.dumps([{'name': 'look_up_report', 'arguments': ARGUMENTS}])}",  # Mistral
        f"<|tool_call|>{json.dumps([{'name': 'look_up_report', 'arguments': ARGUMENTS}])}<|/tool_call|>",  # Phi
        json.dumps([{"type": "function", "function": {"name": "look_up_report", "arguments": ARGUMENTS}}]),
    ],
)
def test_each_form_of_a_call_is_read(text: str) -> None:
    read = tool_calls.read(text)
    assert len(read) == 1 and tool_calls.same(read, [GOLD])
    assert tool_calls.problem(read[0], [LOOK_UP, CONVERT]) == ""


@pytest.mark.parametrize("text", ["", "It was 12.6 million.", '{"revenue": 12.6}', "[1, 2]", "look_up_report(2021)"])
def test_words_are_no_call(text: str) -> None:
    assert tool_calls.read(text) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (_written('{"company": "Harlow", "year": 2021'), "not JSON: "),
        (_written('{"company": "Harlow", "year": NaN, "item": "a"}'), "not JSON: NaN, which JSON does not have"),
        (_written('{"year": 2020, "year": 2021}'), "not JSON: 'year' twice in one object"),
        (_written(json.dumps(ARGUMENTS)).removesuffix("</tool_call>"), "<tool_call> without </tool_call>"),
        (_written('"2021"'), "a call without arguments, a JSON object"),
        ("<tool_call>{}</tool_call>", "a call without a function's name"),
        ("[TOOL_CALLS] []", "an empty list of calls"),
        ('{"name": "look_up_report", "arguments": {', "not JSON: "),
        (_written(json.dumps(ARGUMENTS), "look_up_reports"), "no function 'look_up_reports'"),
        (_written('{"company": "Harlow", "item": "revenue"}'), "year is missing"),
        (_written(json.dumps({**ARGUMENTS, "page": 3})), "page is not among the arguments"),
        (_written(json.dumps({**ARGUMENTS, "year": "2021"})), "year: '2021' is no integer"),
        (_written(json.dumps({**ARGUMENTS, "year": True})), "year: True is no integer"),
        (_written(json.dumps({**ARGUMENTS, "year": 2021.5})), "year: 2021.5 is no integer"),
    ],
)
def test_an_invalid_call_says_why(text: str, problem: str) -> None:
    (call,) = tool_calls.read(text)
    assert tool_calls.problem(call, [LOOK_UP]).startswith(problem)
    assert not tool_calls.same([call], [GOLD])


def test_a_currency_must_be_one_of_those_listed() -> None:
    arguments = {"amount": 5, "from": "EUR", "to": "XXX", "date": "2021-01-31"}
    assert tool_calls.problem(Call("convert_currency", arguments), [CONVERT]).startswith("to: 'XXX' is none of 'EUR'")


def test_without_tools_any_call_that_is_read_is_valid() -> None:
    assert tool_calls.problem(GOLD, []) == ""
    assert tool_calls.problem(Call("", {}, "not JSON"), []) == "not JSON"


def test_calls_are_compared_by_value_and_each_as_often() -> None:
    other = Call("look_up_report", {**ARGUMENTS, "year": 2020})
    assert tool_calls.same([GOLD, other], [other, GOLD])
    assert not tool_calls.same([GOLD, GOLD], [GOLD]) and not tool_calls.same([GOLD, GOLD], [GOLD, other])
    assert not tool_calls.same_functions([GOLD, GOLD], [GOLD])
    assert tool_calls.same_functions([GOLD, GOLD], [GOLD, other])
    assert tool_calls.same([Call("f", {"a": [1, {"b": 2.0}]})], [Call("f", {"a": [1.0, {"b": 2}]})])
    for one, two in ((1, True), (1, "1"), (1.5, 1), ([1, 2], [2, 1]), (None, 0)):
        assert not tool_calls.same([Call("f", {"a": one})], [Call("f", {"a": two})])
    assert not tool_calls.same([Call("f", {})], [Call("g", {})])
    assert not tool_calls.same([Call("f", {}, "broken")], [Call("f", {}, "broken")])
