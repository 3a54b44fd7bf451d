"""Preemption: SIGTERM saves a checkpoint, and the run ends with an exit status of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Paused
from pipeline.training.callbacks.preemption import PreemptionCallback
from tests.steps import checkpoints, manifest, run_train, start_train, step, wait_until


def test_a_preempted_run_saves_and_exits_with_status_75(
    place: Path, uninterrupted: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    process = start_train("--set", "training.checkpoint_steps=1000")  # only the signal causes a checkpoint
    wait_until(
        lambda: [path for path in Path("runs/tiny").glob("*/metrics.jsonl") if path.read_text().count("\n") >= 2],
        process,
    )
    assert step("train", "--resume") == 1
    assert "one that another process is training" in capsys.readouterr().err
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75, out
    (kept,) = checkpoints()
    assert f"SIGTERM; step {kept.name.rpartition('-')[2]} is saved" in out
    assert "invoke train --resume" in out
    status, out = run_train("--resume", "--set", "training.checkpoint_steps=1000")
    assert status == 0, out
    assert "resuming from" in out
    assert manifest()["training"]["adapter_sha256"] == uninterrupted["adapter"]


def test_sigterm_between_steps_ends_a_resumed_run_at_once(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(Paused, match="invoke train --resume"),
        contextlib.closing(PreemptionCallback(tmp_path, resumed=True)),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == before
    with contextlib.closing(PreemptionCallback(tmp_path, resumed=False)):
        assert signal.getsignal(signal.SIGTERM) == before  # a new run has nothing saved to keep
