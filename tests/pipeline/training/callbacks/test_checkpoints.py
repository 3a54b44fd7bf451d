"""The checkpoint callback: what Trainer has saved is published, or the run stays resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.training import checkpoint
from tests.steps import checkpoints, manifest, step


def test_a_run_that_cannot_write_a_checkpoint_stays_resumable(
    place: Path, uninterrupted: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_json", full)
        assert step("train") == 1
    assert "then invoke train --resume" in capsys.readouterr().err
    assert not checkpoints()
    assert step("train", "--resume") == 0
    assert manifest()["training"]["adapter_sha256"] == uninterrupted["adapter"]
