"""Formatted rows on disk: read back, and stale after a change of what they were made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.data import formatted_rows
from pipeline.errors import Stop
from pipeline.tatqa import sample
from tests.steps import fetched_job, format_job, tiny_job


def test_rows_are_stale_after_a_change_of_raw_file_tokenizer_or_settings(workplace: Path) -> None:
    fetched = fetched_job()
    assert formatted_rows.stale(fetched) == ["train", "heldout"]
    format_job(fetched)
    assert formatted_rows.stale(fetched) == []
    rows = formatted_rows.read_rows(fetched.train.rows, contexts=2)
    assert len(rows) == 16
    assert json.loads(rows[0]["answer"])
    for setting in ("data.language=zh", "data.table=html", "data.target=answer", "training.max_length=1000"):
        other = tiny_job(setting)
        assert other.formatted != fetched.formatted
        assert formatted_rows.stale(other) == ["train", "heldout"]
    for file in (fetched.train.raw, Path("models/tiny/tokenizer.json"), fetched.evaluation.rows):
        before = file.read_bytes()
        file.write_bytes(before + b"\n")
        assert formatted_rows.stale(fetched)
        file.write_bytes(before)
        assert formatted_rows.stale(fetched) == []


def test_a_split_without_questions_is_refused(workplace: Path) -> None:
    (workplace / "mine.json").write_text(
        json.dumps([{**each, "questions": []} for each in sample.contexts("heldout")[:2]])
    )
    fetched = fetched_job("data.source=mine.json")
    format_job(fetched)
    with pytest.raises(Stop, match="none in this split"):
        formatted_rows.read_rows(fetched.evaluation.rows)
