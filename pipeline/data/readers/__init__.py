"""Readers of question files, one file a form."""

from __future__ import annotations

from pathlib import Path

from pipeline import json_stream
from pipeline.data.readers import instruction_rows


def count(path: Path) -> int:
    """The number of contexts in a raw file (.json), or of rows (.jsonl).

    Raises:
        Stop: as `json_stream.elements` and `instruction_rows.read`.
    """
    elements = instruction_rows.read(path, "") if path.suffix == ".jsonl" else json_stream.elements(path)
    return sum(1 for _ in elements)
