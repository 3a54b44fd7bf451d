"""The message that reaches a person."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.errors import Stop, need_space, one_line, unexpected


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
        (OSError(errno.EDQUOT, "Quota exceeded", "runs/x"), "export", "disk space", "the same again"),
        (PermissionError(errno.EACCES, "Denied", "runs/x"), "train", "that this user may write", "ls -l"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "train", "memory", "gradient_checkpointing=true"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "ask", "memory", "batch_questions=6"),
        (OSError(errno.ENOSPC, "No space left", "/tmp/x/y"), "format", "space in /tmp", "PINTUNE_TMP, which is 2g"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "train", "process", "PINTUNE_PIDS"),
        (RuntimeError("can't start new thread"), "train", "another process or thread", "PINTUNE_PIDS, which is 9"),
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
