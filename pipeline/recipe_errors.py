"""Messages for a value, key or section that a recipe cannot have."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import annotated_types

from pipeline.errors import Stop

_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "string": "a string",
    "bool": "true or false",
    "dict": 'a table of names, such as {output = "answer"}',
    "tuple": "a list of strings",
    "too": "a list of strings",  # too short: empty
}


def refused(key: str, hint: Any, value: Any, where: str, kind: str) -> Stop:
    """The message for a value of the wrong type or out of bounds; `kind` is pydantic's name of the error."""
    plain, *_ = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
    if typing.get_origin(plain) is tuple:
        kind = "tuple"
    if typing.get_origin(plain) is dict and typing.get_args(plain)[1] is not str:
        wanted = "a table of whole numbers of at least 1, such as {down_proj = 32}"
        return Stop(f"{key} as {wanted}", repr(value), where, f"write {key} as {wanted}")
    if kind == "literal_error":
        return Stop(f"{key}: one of {', '.join(typing.get_args(plain))}", repr(value), where, f"change {key}")
    if kind == "string_pattern_mismatch":
        return Stop(f"{key}: the name of a folder under models/", repr(value), where, f"change {key}")
    known = _TYPES.get(kind.partition("_")[0]) if not kind.startswith("too_") or kind == "too_short" else None
    if known:
        return Stop(f"{key} as {known}", repr(value), where, f"write {key} as {known}")
    return Stop(f"{key}: {' and '.join(_bounds(hint))}", repr(value), where, f"change {key}")


def _bounds(hint: Any) -> Iterator[str]:
    for each in typing.get_args(hint)[1].metadata:
        match each:
            case annotated_types.Gt(gt=bound):
                yield f"a number above {bound}"
            case annotated_types.Ge(ge=bound):
                yield f"at least {bound}"
            case annotated_types.Lt(lt=bound):
                yield f"below {bound}"


def unknown(what: str, shown: str, name: str, known: list[str], where: str) -> Stop:
    """The message for a name that is not among the known ones; a near one is proposed."""
    near = difflib.get_close_matches(name, known, n=1)
    same_section = [key for key in known if key.partition(".")[0] == name.partition(".")[0]]
    listed = same_section or sorted({key.partition(".")[0] for key in known})
    todo = f"did you mean {near[0]}?" if near else f"remove {shown}"
    return Stop(f"a known {what}: {', '.join(listed)}", shown, where, todo)
