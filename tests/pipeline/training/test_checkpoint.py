"""Checkpoints: only intact ones count, and a killed run resumes from one to the adapter of an uninterrupted run."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.models import load
from pipeline.training import checkpoint, fsdp
from tests.steps import (
    Killed,
    checkpoints,
    latest,
    losses,
    manifest,
    overrides,
    start_train,
    step,
    train_until_killed,
    wait_until,
)


def test_a_run_killed_several_times_ends_with_the_same_adapter(place: Path, uninterrupted: dict[str, Any]) -> None:
    """SIGKILL at random moments, mostly while a checkpoint is written: there is one after every step."""
    chance, kills = random.Random(5), 0
    process = start_train()
    while kills < 3:
        known = len(checkpoints()) and int(checkpoints()[-1].name.rpartition("-")[2])
        wait_until(
            lambda known=known: any(int(path.name.rpartition("-")[2]) > known for path in checkpoints()), process
        )
        time.sleep(chance.uniform(0, 0.15))
        if process.poll() is not None:
            break  # the run ended before the signal
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        process = start_train("--resume")
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert kills >= 2
    assert manifest()["training"]["adapter_sha256"] == uninterrupted["adapter"]
    assert losses() == uninterrupted["losses"]
    assert not list(latest().rglob(".*"))


def test_only_intact_checkpoints_count(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for number in (8, 9, 10, 11):
        staged = checkpoint.staging_folder(folder) / f"checkpoint-{number}"
        staged.mkdir(parents=True)
        (staged / "adapter_model.safetensors").write_bytes(b"weights" * number)
        assert checkpoint.newest_intact(tmp_path)[0] == (folder / f"checkpoint-{number - 1}" if number > 8 else None)
        checkpoint.publish(folder, number, 3)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-10", "checkpoint-11", "checkpoint-9"]
    (folder / "checkpoint-11" / "adapter_model.safetensors").write_bytes(b"other")
    corrupt = folder / "checkpoint-12"  # corrupt, and present while the run resumes from an older one
    corrupt.mkdir()
    (folder / "checkpoint-10" / "sealed.json").write_text("[")
    rejected = [corrupt, folder / "checkpoint-11", folder / "checkpoint-10"]
    assert checkpoint.newest_intact(tmp_path) == (folder / "checkpoint-9", rejected)
    staged = checkpoint.staging_folder(folder) / "checkpoint-10"
    staged.mkdir(parents=True)
    (staged / "adapter_model.safetensors").write_bytes(b"weights")
    checkpoint.publish(folder, 10, 1)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-10", "corrupt-checkpoint-10"]
    assert checkpoint.newest_intact(tmp_path) == (folder / "checkpoint-10", [])


def test_a_run_killed_after_its_last_step_takes_no_further_step(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One and a half epochs and a constant learning rate: another step would change the adapter."""
    words = overrides("training.epochs=1.5", 'training.scheduler="constant_with_warmup"', "data.train_contexts=4")
    assert step("train", *words) == 0
    wanted, curve = manifest()["training"], losses()
    assert wanted["steps"] == len(curve) == 6
    os.rename("runs", "runs-uninterrupted")

    def die(path: Path) -> Any:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(fsdp, "atomic_folder", die)
        step("train", *words)
    assert step("train", "--resume", *words) == 0
    resumed = manifest()["training"]
    assert (resumed["steps"], resumed["tokens"]) == (6, wanted["tokens"])
    last = json.loads((latest() / "metrics.jsonl").read_text().splitlines()[-1])
    assert resumed["seconds"] >= round(last["seconds"], 2)  # the manifest has two decimals
    assert losses() == curve
    assert manifest()["training"]["adapter_sha256"] == wanted["adapter_sha256"]


def test_a_resume_restores_the_loss_scale(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in fp16 on a GPU, with a GradScaler on the CPU that starts too high and grows every third step."""
    import accelerate
    import torch

    init = accelerate.Accelerator.__init__

    def scaled(accelerator: Any, *positional: Any, **options: Any) -> None:
        init(accelerator, *positional, **options)
        accelerator.native_amp = True
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=3)

    monkeypatch.setattr(accelerate.Accelerator, "__init__", scaled)
    monkeypatch.setattr(load, "precision", lambda recipe: ("fp16", "as if a GPU were there"))
    words = overrides("training.epochs=8", "data.train_contexts=4")
    assert step("train", *words) == 0
    wanted, curve = manifest()["training"], (latest() / "metrics.jsonl").read_text()
    counts = [json.loads(line)["overflows"] for line in curve.splitlines()]
    assert 0 < counts[8] <= counts[-1] == wanted["overflows"] < 32
    os.rename("runs", "runs-uninterrupted")
    train_until_killed(14, monkeypatch, *words)
    assert (checkpoints()[-1] / "scaler.pt").exists()
    assert step("train", "--resume", *words) == 0
    resumed = manifest()["training"]
    assert (resumed["adapter_sha256"], resumed["overflows"]) == (wanted["adapter_sha256"], wanted["overflows"])
