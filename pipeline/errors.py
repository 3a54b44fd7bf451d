"""The one exception that reaches a person, in the same four parts everywhere."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from pipeline.steps import EXIT_STATUS


class Stop(Exception):
    """A step cannot continue. Printed as four short lines, without a traceback.

    Args:
        wanted: what the step needed.
        found: what it found instead.
        where: file and field, or the place in the program's input.
        todo: the next command or edit.
    """

    status = EXIT_STATUS["stopped"]  # the exit status of the process

    def __init__(self, wanted: str, found: str, where: str, todo: str) -> None:
        self.wanted, self.found, self.where, self.todo = wanted, found, where, todo
        super().__init__(f"wanted: {wanted}\n found: {found}\n where: {where}\n  next: {todo}")


class OwnStop(Stop):
    """A Stop of a single rank. Any other is raised by all ranks, and rank 0 prints it."""


class Paused(Stop):
    """A training run that was told to stop and has saved a checkpoint."""

    status = EXIT_STATUS["paused"]


def one_line(error: BaseException, limit: int = 200) -> str:
    """The class and the first line of an exception, at most `limit` characters."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:limit]


def need_space(folder: Path, size: int) -> None:
    """Raise Stop unless the file system of `folder` has `size` bytes free."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise Stop(
            f"{size / 2**20:,.0f} MiB free",
            f"{free / 2**20:,.0f} MiB free",
            str(folder),
            "free some disk space (old runs are under runs/), then run the same command again",
        )


def unexpected(error: Exception, step: str) -> Stop:
    """The message for an exception that no stage handles: out of memory, a full disk, a missing permission, a bug."""
    shown = one_line(error)
    # torch's own words, on a GPU and on a CPU
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        less = (
            "--set training.gradient_checkpointing=true, and training.row_tokens=4096 or training.batch_contexts=1"
            if step == "train"
            else "--set evaluation.batch_questions=6"
        )
        return Stop("memory", shown, f"the step {step}", less)
    if isinstance(error, BlockingIOError) or "can't start new thread" in str(error):
        limit = os.environ.get("PINTUNE_PIDS", "")
        todo = f"raise PINTUNE_PIDS, which is {limit}" if limit else "raise the limit that ulimit -u shows"
        return Stop("another process or thread", shown, f"the step {step}", todo)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        size = os.environ.get("PINTUNE_TMP", "")
        if size and str(error.filename).startswith("/tmp/"):
            return Stop("space in /tmp", shown, str(error.filename), f"raise PINTUNE_TMP, which is {size}")
        again = "invoke train --resume" if step == "train" else "the same again"
        todo = f"free some (old runs are under runs/), then {again}"
        return Stop("disk space", shown, str(error.filename or Path.cwd()), todo)
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        todo = "check its owner, as ls -l shows it"
        return Stop("a file or folder that this user may write", shown, str(error.filename), todo)
    return Stop(
        "the step to succeed", shown, f"pipeline, step {step}", "set PINTUNE_DEBUG=1 to see where, and report it"
    )
