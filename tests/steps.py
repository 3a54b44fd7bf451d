"""Runs the steps of a tiny recipe, in this process or in another; conftest's `place` is their working folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import job
from pipeline.__main__ import main
from pipeline.job import Job
from pipeline.recipe import load
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


class Killed(BaseException):
    """Passes every `except Exception`, as a kill would."""


def train_until_killed(at: int, monkeypatch: pytest.MonkeyPatch, *words: str) -> Path:
    """Train in this process, die after step `at` is logged, and return the folder of the unfinished run."""
    from pipeline.training.callbacks.metrics import MetricsCallback

    on_log = MetricsCallback.on_log

    def die(self: MetricsCallback, args: Any, state: Any, *positional: Any, **options: Any) -> None:
        on_log(self, args, state, *positional, **options)
        if state.global_step == at:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(MetricsCallback, "on_log", die)
        step("train", *words)
    (run,) = (path.parent for path in Path("runs/tiny").glob("*/unfinished.json"))
    return run


def curve() -> list[dict[str, float]]:
    """What the newest run measured in each step, except for times."""
    keys = ("step", "loss", "heldout_loss", "grad_norm", "tokens", "questions")
    lines = map(json.loads, (latest() / "metrics.jsonl").read_text().splitlines())
    return [{key: line[key] for key in keys if key in line} for line in lines]


def assert_same_curve(wanted: list[dict[str, float]]) -> None:
    """The newest run measured the same in every step, but for rounding."""
    assert [
        key
        for line, other in zip(curve(), wanted, strict=True)
        for key in line
        if line[key] != pytest.approx(other[key], rel=1e-4)
    ] == []


def tiny_job(*settings: str) -> Job:
    """The quickstart's job with the tiny model."""
    return job.resolve(load("quickstart", ["model.source=tiny", "training.max_length=2048", *settings]))


def fetched_job(*settings: str) -> Job:
    """As `tiny_job`, with its data fetched."""
    from pipeline.data import fetch

    resolved = tiny_job(*settings)
    fetch.fetch(resolved, lambda line: None)
    return resolved


def format_job(resolved: Job) -> tuple[dict[str, Any], str]:
    """Format the splits of a job; returns the report of each split, and what was printed."""
    from pipeline.data import format as formatting
    from pipeline.data import formatted_rows

    lines: list[str] = []
    formatting.format_splits(resolved, lines.append)
    return formatted_rows.read_report(resolved.formatted)["splits"], "\n".join(lines)
