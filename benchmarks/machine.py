"""The machine and versions that every result records; TAT-QA's dev in a scratch folder; a clock for Trainer."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def facts(script: str, *packages: str) -> dict[str, Any]:
    """Script, date, revision, machine, and the versions of `packages`."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    revision = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "script": f"benchmarks/{script}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "revision": revision,
        "machine": {
            "processor": next(line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
            "cores": os.cpu_count(),
            "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        },
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


@contextlib.contextmanager
def tatqa(*settings: str, name: str = "quickstart") -> Iterator[Any]:
    """A job on TAT-QA's dev in a scratch folder, with its model fetched and its data formatted.

    The data comes from PINTUNE_MIRROR. Output goes to standard error until the block ends, which removes the folder.
    """
    from pipeline.__main__ import _be_quiet, use_the_same_kernels

    use_the_same_kernels()
    _be_quiet()
    from pipeline import job
    from pipeline.data import fetch
    from pipeline.data import format as formatting
    from pipeline.recipe import load

    mirror = str(Path(os.environ["PINTUNE_MIRROR"]).absolute())
    with (
        tempfile.TemporaryDirectory(prefix="pintune-benchmark-") as scratch,
        contextlib.chdir(scratch),
        contextlib.redirect_stdout(sys.stderr),
    ):
        os.environ["PINTUNE_MIRROR"] = mirror
        splits = ["data.source=tatqa", "data.train=dev", "data.evaluation=test_gold", "training.max_length=1024"]
        chosen = job.resolve(load(name, [*splits, *settings]))
        fetch.fetch(chosen, print)
        formatting.format_splits(chosen, print)
        yield chosen


def encoded(chosen: Any) -> tuple[Any, list[Any]]:
    """The model's chat template, and dev's contexts as `packing.encode` gives them."""
    from pipeline.training import loop

    template, contexts, _ = loop.encoded(chosen)
    return template, contexts


def moments(trainer: Any, *events: str) -> list[float]:
    """Train to the end; returns the monotonic times, in seconds, of TrainerCallback events such as on_step_begin."""
    import torch
    from transformers import PrinterCallback, TrainerCallback

    seen: list[float] = []

    def now(*positional: Any, **options: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seen.append(time.monotonic())

    trainer.add_callback(type("Clock", (TrainerCallback,), dict.fromkeys(events, now)))
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return seen


def losses(trainer: Any) -> list[float]:
    """The loss of each step of a trained Trainer."""
    return [each["loss"] for each in trainer.state.log_history if "loss" in each]
