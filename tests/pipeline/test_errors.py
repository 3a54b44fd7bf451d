"""The message that reaches a person."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.errors import Stop, need_space, one_line, unexpected
from tests.conftest import ROOT
from tests.steps import step


def test_need_space_stops_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free=2**20))
    with pytest.raises(Stop, match="10 MiB free\n found: 1 MiB free"):
        need_space(tmp_path / "not" / "there", 10 * 2**20)


def test_a_stop_is_four_lines() -> None:
    assert str(Stop("a number", "'x'", "recipe.toml, field 'r'", "write r = 8")) == (
        "wanted: a number\n found: 'x'\n where: recipe.toml, field 'r'\n  next: write r = 8"
    )


def test_one_line_of_an_exception_has_its_class_and_is_bounded() -> None:
    assert one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert len(one_line(KeyError("x" * 1000), 50)) == 50


@pytest.mark.parametrize(
    ("error", "step", "wanted", "todo"),
    [
        (OSError(errno.ENOSPC, "No space left", "runs/x"), "train", "disk space", "invoke train --resume"),
        (OSError(errno.EDQUOT, "Quota exceeded", "runs/x"), "export", "disk space", "invoke export"),
        (PermissionError(errno.EACCES, "Denied", "runs/x"), "train", "that this user may write", "ls -l"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "train", "memory", "gradient_checkpointing=true"),
        (OSError(errno.ENOSPC, "No space left", "/tmp/x/y"), "format", "space in /tmp", "PINTUNE_TMP, which is 2g"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "train", "process", "PINTUNE_PIDS"),
        (RuntimeError("can't start new thread"), "train", "another process or thread", "PINTUNE_PIDS, which is 9"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "evaluate", "memory", "batch_questions=6"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "export", "memory", "then invoke export"),
        (MemoryError(), "format", "memory", "free some memory, then invoke data"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "ask", "memory", "then the same again"),
        (ZeroDivisionError("x"), "train", "the step to succeed", "PINTUNE_DEBUG=1"),
    ],
)
def test_an_unexpected_exception_says_what_to_do(
    error: Exception, step: str, wanted: str, todo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINTUNE_TMP", "2g")  # as a container has them
    monkeypatch.setenv("PINTUNE_PIDS", "9")
    stop = unexpected(error, step)
    assert wanted in stop.wanted
    assert todo in stop.todo
    assert type(error).__name__ in stop.found


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),  # of a write, which names no file
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),  # safetensors
    ],
)
def test_a_full_disk_is_reported_where_the_step_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    stop = unexpected(error, "export")
    assert "runs (" in stop.where and "MiB free now)" in stop.where and str(tmp_path) not in stop.where
    assert stop.todo == "free some (old runs are under runs/), then invoke export, with the same flags"


def test_an_export_without_memory_is_told_about_export(place: Path) -> None:
    """In a process whose memory is limited to what it has already, and all taken."""
    assert step("train") == 0
    script = """
import resource, sys, torch
from pipeline.__main__ import main
assert main(["export", "--recipe", "tiny.toml"]) == 0  # imports all that it needs
size = next(line for line in open("/proc/self/status") if line.startswith("VmSize"))
limit = int(size.split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
taken = []
try:
    while True:
        taken.append(torch.ones(2**12))
except RuntimeError:
    pass
sys.exit(main(["export", "--recipe", "tiny.toml"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "wanted: memory" in done.stderr and "then invoke export" in done.stderr
    assert "batch_questions" not in done.stderr
