"""The record of a fetched model: what is compared, and what a message advises."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import Stop
from pipeline.models import record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files that a model's folder must have."""
    for name in ("config.json", "tokenizer_config.json", "model.safetensors"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_fetched_model_is_compared_file_by_file(folder: Path) -> None:
    assert record.check(folder) == "put there by hand"
    hashes = record.write(folder, source="the hub")
    assert sorted(hashes) == ["config.json", "model.safetensors", "tokenizer_config.json"]
    assert record.write(folder, source="again") == hashes  # the record itself is not in it
    assert record.check(folder) == "every file as fetched"
    (folder / "model.safetensors").write_text("other")
    with pytest.raises(Stop, match=hashes["model.safetensors"]) as stopped:
        record.check(folder)
    assert stopped.value.todo == f"delete {folder}, then invoke fetch"
    (folder / "config.json").unlink()
    with pytest.raises(Stop, match=r"a folder without config\.json"):
        record.check(folder)


def test_only_a_fetched_model_may_be_deleted(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(Stop, match="a folder without safetensors") as stopped:
        record.check(folder)
    assert "delete" not in stopped.value.todo
