"""Readers of question files, one file a form; `conversation` is the form of the raw splits that rows become."""

from __future__ import annotations

from pathlib import Path

from pipeline import json_stream
from pipeline.data.readers import conversation


def count(path: Path) -> int:
    """The number of contexts in a raw split (.json), or of conversations (.jsonl).

    Raises:
        Stop: as `json_stream.elements` and `conversation.read`.
    """
    return sum(1 for _ in (conversation.read(path) if path.suffix == ".jsonl" else json_stream.elements(path)))
