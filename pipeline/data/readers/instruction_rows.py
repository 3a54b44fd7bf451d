"""Instruction rows of a user's file: JSON lines of instruction, input and output, with an optional system text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import json_stream
from pipeline.errors import Stop

ANSWER_TYPE = "text"  # an answer that is compared verbatim, without a scale


def read(path: Path, split: str) -> Iterator[dict[str, Any]]:
    """The checked rows of a file with the fields that evaluation needs; each row is its own context.

    Raises:
        Stop: not UTF-8, not JSON, or a field is missing or not text; names the line.
    """
    number = 0
    try:
        with path.open("rb") as file:  # by line, so that a message can name the one that is not UTF-8
            for number, line in enumerate(file, 1):
                if text := line.decode("utf-8-sig" if number == 1 else "utf-8").strip():
                    yield row(
                        json.loads(text, object_pairs_hook=json_stream.once),
                        f"{path}, line {number}",
                        f"{split}-{number}",
                    )
    except OSError as error:
        raise Stop(
            "JSON lines of instruction, input and output",
            error.strerror or str(error),
            str(path),
            "invoke fetch, or name a file",
        ) from None
    except RecursionError:
        raise _broken("values nested too deeply to be read", path, number) from None
    except ValueError as error:
        raise _broken(str(error).splitlines()[0], path, number) from None


def row(item: object, where: str, uid: str) -> dict[str, Any]:
    """One row.

    Raises:
        Stop: as `read`.
    """
    if not isinstance(item, dict):
        raise Stop(
            'an object with "instruction", "input" and "output"',
            f"{type(item).__name__}: {str(item)[:60]}",
            where,
            "fix that row",
        )
    texts = {}
    for field in ("instruction", "input", "output", "system"):
        value = item.get(field, "" if field in ("input", "system") else None)
        if not isinstance(value, str) or (field == "output" and not value.strip()):
            shown = "nothing" if value is None or value == "" else str(value)[:60]
            raise Stop(
                "some text" if field == "output" else "a text", shown, f"{where}, field {field!r}", "fix that row"
            )
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise Stop(
                "text that UTF-8 can write", "half a surrogate pair", f"{where}, field {field!r}", "fix that row"
            )
        texts[field] = value
    return {
        **texts,
        "uid": uid,
        "context": uid,
        "answer": json.dumps([texts["output"]], ensure_ascii=False),
        "answer_type": ANSWER_TYPE,
        "answer_from": "text",
        "scale": "",
    }


def _broken(found: str, path: Path, number: int) -> Stop:
    return Stop("JSON lines in UTF-8", found, f"{path}, line {number}", "fix that line")
