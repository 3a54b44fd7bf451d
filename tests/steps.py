"""Steps of a tiny recipe in this process, for the tests of what they leave behind; conftest's `place` is where they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.__main__ import main

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
