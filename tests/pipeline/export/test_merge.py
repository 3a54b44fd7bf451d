"""The merged model: checked from disk, and replaced only by one that answers as base + adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.steps import latest, step


def test_a_failed_merge_keeps_the_previous_merged_model(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.export import merge

    assert step("train") == step("export") == 0
    before = (latest() / "merged" / "model.safetensors").read_bytes()
    monkeypatch.setitem(merge._TOLERANCE, "bfloat16", 0.0)
    assert step("export", "--set", "export.dtype=bfloat16") == 1
    assert "of base + adapter" in capsys.readouterr().err
    assert (latest() / "merged" / "model.safetensors").read_bytes() == before
