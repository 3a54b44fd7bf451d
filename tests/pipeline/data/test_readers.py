"""Readers of question files, and their count of contexts or rows."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.data import readers


def test_contexts_and_rows_are_counted(tmp_path: Path) -> None:
    contexts, rows = tmp_path / "a.json", tmp_path / "a.jsonl"
    contexts.write_text(json.dumps([{}, {}, {}]))
    rows.write_text('{"instruction": "a", "output": "b"}\n\n' * 2)
    assert (readers.count(contexts), readers.count(rows)) == (3, 2)
