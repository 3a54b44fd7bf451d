"""Run folders: unfinished, finished, latest, named; incomplete ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.steps import (
    latest,
    step,
)


@pytest.mark.parametrize("missing", ["manifest.json", "adapter/adapter_model.safetensors"])
def test_an_incomplete_run_is_refused(place: Path, capsys: pytest.CaptureFixture[str], missing: str) -> None:
    assert step("train") == 0
    (latest() / missing).unlink()
    before = sorted(path.name for path in latest().rglob("*"))
    for name in ("evaluate", "export"):
        assert step(name) == 1
        assert f"{missing} missing" in capsys.readouterr().err
    assert sorted(path.name for path in latest().rglob("*")) == before


def test_a_truncated_manifest_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train") == 0
    file = latest() / "manifest.json"
    file.write_text(file.read_text()[:100])
    assert step("evaluate") == 1
    assert "a manifest with recipe, inputs and outputs" in capsys.readouterr().err


def test_no_run_folder_exists_without_unfinished_json(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.runs import store

    def dies(path: Path, value: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_json", dies)
    with pytest.raises(KeyboardInterrupt):
        store.create(Path("runs/tiny"), {}, {"inputs": {}})
    assert list(Path("runs/tiny").glob("*")) == []
