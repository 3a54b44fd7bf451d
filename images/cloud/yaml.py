"""YAML of plain values, as an engine's tool reads it and a person too. The host side has no YAML library."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

# what no YAML reader takes for anything but a string, in YAML 1.1 too: no number, no yes, no on, no null
_PLAIN = re.compile(
    r"(?!(?:y|n|yes|no|on|off|true|false|null|nan|inf)$)[A-Za-z/$][\w./@+-]*(?::[\w./@+-]+)*", re.IGNORECASE
)


def documents(made: Iterable[Mapping[str, Any]]) -> str:
    """Several documents in one file."""
    return "---\n".join(dump(each) for each in made)


def dump(value: Mapping[str, Any]) -> str:
    """One document."""
    return "\n".join(_mapping(value)) + "\n"


def _mapping(value: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, each in value.items():
        first, *rest = _lines(each)
        name = _scalar(key)
        if isinstance(each, (Mapping, list, tuple)) and each:
            lines += [f"{name}:", *(f"  {line}" for line in (first, *rest))]
        else:
            lines += [f"{name}: {first}", *(f"  {line}" if line else "" for line in rest)]
    return lines


def _lines(value: Any) -> list[str]:
    """The lines of a value; those of a text block after its first belong deeper than the key."""
    if isinstance(value, Mapping):
        return _mapping(value) or ["{}"]
    if isinstance(value, (list, tuple)):
        items = [_lines(each) for each in value]
        return [line for first, *rest in items for line in (f"- {first}", *(f"  {more}" for more in rest))] or ["[]"]
    if isinstance(value, str) and _is_block(value):
        return ["|", *value[:-1].split("\n")]
    return [_scalar(value)]


def _is_block(text: str) -> bool:
    """Whether a text of lines can stand as it is."""
    lines = text.split("\n")
    whole = len(lines) > 1 and lines[-1] == "" and lines[-2] != "" and not text[0].isspace()
    return whole and all(line.isprintable() for line in lines)


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    # a string, number, truth value or null of JSON is one of YAML, which also escapes what does not print
    text = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in text)
