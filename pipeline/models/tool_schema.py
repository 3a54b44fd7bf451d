"""Whether arguments fit a tool's JSON Schema: the keywords that tools use, without a library.

Checked are `type`, `enum`, `const`, `required`, `properties`, `additionalProperties` and `items`, at any depth; other
keywords, such as `pattern` or `anyOf`, are not. Stricter than the standard in one point: where `properties` are listed
and `additionalProperties` is absent, no other is taken, for a function has no other argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": lambda value: _is_number(value) and value == int(value),  # 1.0 is one, by JSON Schema
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def problem(value: Any, schema: Any, at: str = "") -> str:
    """The first point in which a value does not fit a schema, such as "year: 'x' is no integer"; "" if it fits."""
    if not isinstance(schema, Mapping):  # true allows all, and what is no schema says nothing
        return f"{at or 'arguments'}: not allowed" if schema is False else ""
    place = f"{at}: " if at else ""
    wanted = schema.get("type")
    kinds = [kind for kind in (wanted if isinstance(wanted, list) else [wanted]) if kind in _TYPES]
    if kinds and not any(_TYPES[kind](value) for kind in kinds):
        return f"{place}{value!r:.40} is no {' or '.join(kinds)}"
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(allowed, list) and not any(_equal(value, each) for each in allowed):
        return f"{place}{value!r:.40} is none of {', '.join(map(repr, allowed))[:80]}"
    if isinstance(value, dict):
        return _of_object(value, schema, at)
    if isinstance(value, list):
        found = (problem(each, schema.get("items"), f"{at}[{i}]") for i, each in enumerate(value))
        return next(filter(None, found), "")
    return ""


def _of_object(value: dict[str, Any], schema: Mapping[str, Any], at: str) -> str:
    properties, more = schema.get("properties"), schema.get("additionalProperties")
    listed = properties if isinstance(properties, Mapping) else {}
    names = schema.get("required")
    for name in names if isinstance(names, list) else []:
        if name not in value:
            return f"{_inside(at, name)} is missing"
    closed = more is False or (more is None and "properties" in schema)
    for name, each in value.items():
        if name not in listed and closed:
            return f"{_inside(at, name)} is not among the arguments"
        if found := problem(each, listed.get(name, more), _inside(at, name)):
            return found
    return ""


def _inside(at: str, name: object) -> str:
    return f"{at}.{name}" if at else str(name)


def _equal(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)
