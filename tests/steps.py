"""Runs the steps of a tiny recipe, in this process or in another; conftest's `place` is their working folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.__main__ import main
from tests.conftest import ROOT

RECIPE = """
[model]
source = "tiny"
[data]
language = "en"
train_contexts = 6
evaluation_contexts = 2
[lora]
r = 4
[training]
epochs = 2
batch_contexts = 1
learning_rate = 1e-2
warmup_steps = 1
max_length = 2000
checkpoint_steps = 4
[evaluation]
max_new_tokens = 4
"""


def overrides(*settings: str) -> tuple[str, ...]:
    """The flags that override recipe keys: a --set before each setting."""
    return tuple(word for setting in settings for word in ("--set", setting))


def step(name: str, *words: str) -> int:
    """Run one step of the recipe in this process; returns its exit status."""
    return main([name, "--recipe", "tiny.toml", *words])


def latest() -> Path:
    """The folder of the newest finished run."""
    return Path("runs/tiny/latest").resolve()


def manifest(run: Path | None = None) -> dict[str, Any]:
    """The manifest of a run, by default the newest."""
    read: dict[str, Any] = json.loads(((run or latest()) / "manifest.json").read_text(encoding="utf-8"))
    return read


def losses() -> list[float]:
    """The training losses of the newest run, one per step."""
    return [json.loads(line)["loss"] for line in (latest() / "metrics.jsonl").read_text().splitlines()]


def start_train(*words: str) -> subprocess.Popen[str]:
    """Start training in a process of its own, with a checkpoint after every step."""
    words = ("--recipe", "tiny.toml", *overrides("training.checkpoint_steps=1"), *words)
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "train", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_train(*words: str) -> tuple[int, str]:
    """As `start_train`, but wait for its end; returns the exit status and the output."""
    process = start_train(*words)
    out, _ = process.communicate(timeout=240)
    return process.returncode, out


def wait_until(condition: Any, process: subprocess.Popen[str]) -> None:
    """Wait for a condition; fails if the process ends first, or after two minutes."""
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.005)


def checkpoints() -> list[Path]:
    """Every published checkpoint of every run, by name."""
    return sorted(Path("runs/tiny").glob("*/checkpoints/checkpoint-*"))
