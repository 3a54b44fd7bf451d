"""Steps of a tiny recipe in this process, for the tests of what they leave behind; conftest's `place` is where they run."""

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


def step(name: str, *words: str) -> int:
    """One step of the recipe; its exit status."""
    return main([name, "--recipe", "tiny.toml", *words])


def latest() -> Path:
    """The newest run."""
    return Path("runs/tiny/latest").resolve()


def manifest(run: Path | None = None) -> dict[str, Any]:
    """A run's manifest, of the newest if none is named."""
    read: dict[str, Any] = json.loads(((run or latest()) / "manifest.json").read_text(encoding="utf-8"))
    return read


def losses() -> list[float]:
    """Those of the newest run's steps."""
    return [json.loads(line)["loss"] for line in (latest() / "metrics.jsonl").read_text().splitlines()]


def begin(*words: str) -> subprocess.Popen[str]:
    """Training as a process of its own, a checkpoint after every step."""
    command = [
        sys.executable,
        "-m",
        "pipeline",
        "train",
        "--recipe",
        "tiny.toml",
        "--set",
        "training.checkpoint_steps=1",
        *words,
    ]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*words: str) -> tuple[int, str]:
    """The same to its end: exit status and output."""
    process = begin(*words)
    out, _ = process.communicate(timeout=240)
    return process.returncode, out


def until(condition: Any, process: subprocess.Popen[str]) -> None:
    """Wait for something while a process runs."""
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.005)


def saved() -> list[Path]:
    """All checkpoints of all runs."""
    return sorted(Path("runs/tiny").glob("*/checkpoints/checkpoint-*"))
