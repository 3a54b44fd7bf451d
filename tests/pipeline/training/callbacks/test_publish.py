"""The checkpoint callback: what Trainer has saved is published, or the run stays resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerState

from pipeline.training import checkpoint
from pipeline.training.callbacks.publish import CheckpointCallback
from tests.steps import checkpoints, manifest, step


def test_a_run_that_cannot_write_a_checkpoint_stays_resumable(
    place: Path, uninterrupted: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*positional: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_json", full)
        assert step("train") == 1
    assert "then invoke train --resume" in capsys.readouterr().err
    assert not checkpoints()
    assert step("train", "--resume") == 0
    assert manifest()["training"]["adapter_sha256"] == uninterrupted["adapter"]


def test_a_save_is_published_and_a_killed_one_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    killed = checkpoint.staging_folder(folder) / "checkpoint-1"
    killed.mkdir(parents=True)
    callback, state = CheckpointCallback(folder, 2), TrainerState(global_step=0, is_world_process_zero=True)
    callback.on_train_begin(None, state, None)
    assert not killed.exists()
    for state.global_step in (1, 2, 3):
        staged = checkpoint.staging_folder(folder) / f"checkpoint-{state.global_step}"
        staged.mkdir(parents=True)
        (staged / "optimizer.pt").write_bytes(b"moments")
        callback.on_save(None, state, None)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-2", "checkpoint-3"]
    assert checkpoint.newest_intact(tmp_path) == (folder / "checkpoint-3", [])
