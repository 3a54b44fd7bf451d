"""Arguments against a JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.models import tool_schema

ROW = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("value", "schema", "problem"),
    [
        ({"a": 1.0}, {"properties": {"a": {"type": "integer"}}}, ""),
        ({"a": None}, {"properties": {"a": {"type": ["string", "null"]}}}, ""),
        ({"a": 1}, {"properties": {"a": {"type": ["string", "null"]}}}, "a: 1 is no string or null"),
        ({"a": True}, {"properties": {"a": {"type": "number"}}}, "a: True is no number"),
        ({"a": 1}, {"properties": {"a": {"enum": [True, "x"]}}}, "a: 1 is none of True, 'x'"),
        ({"a": "y"}, {"properties": {"a": {"const": "x"}}}, "a: 'y' is none of 'x'"),
        ({"a": [{"n": 1}, {}]}, {"properties": {"a": {"type": "array", "items": ROW}}}, "a[1].n is missing"),
        ({"a": {"n": "1"}}, {"properties": {"a": ROW}}, "a.n: '1' is no integer"),
        ({"b": 1}, {"type": "object", "properties": {}}, "b is not among the arguments"),
        ({"b": 1}, {"type": "object"}, ""),  # nothing said of the arguments
        ({"b": 1}, {}, ""),
        ({"b": 1}, {"additionalProperties": False}, "b is not among the arguments"),
        ({"b": 1}, {"properties": {}, "additionalProperties": True}, ""),
        ({"b": 1}, {"properties": {}, "additionalProperties": {"type": "string"}}, "b: 1 is no string"),
        ({"b": 1}, {"properties": {"b": False}}, "b: not allowed"),
        ([], {"type": "object"}, "[] is no object"),
    ],
)
def test_the_first_misfit_is_named(value: Any, schema: Any, problem: str) -> None:
    assert tool_schema.problem(value, schema) == problem
