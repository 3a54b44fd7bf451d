"""The one exception that reaches a person, in the same four parts everywhere."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from pipeline.steps import EXIT_STATUS, STEPS


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


_NO_SPACE = ("No space left on device", "database or disk is full", "PytorchStreamWriter failed writing")
_NO_MEMORY = (
    "can't allocate memory",
    "Cannot allocate memory",
    "std::bad_alloc",
    "OutOfMemoryError",
)
_VERBS = {"fetch": "fetch", "format": "data", "train": "train --resume", "evaluate": "evaluate", "export": "export"}


def unexpected(error: Exception, step: str) -> Stop:
    """The message for an exception that no stage handles: out of memory, a full disk, a missing permission, a bug."""
    shown, number = one_line(error), error.errno if isinstance(error, OSError) else None
    again = f"invoke {_VERBS[step]}, with the same flags" if step in _VERBS else "the same again"
    # torch, safetensors and sqlite have exceptions of their own, known by their words
    words = f"{type(error).__name__}: {error}"
    if isinstance(error, BlockingIOError) or "can't start new thread" in words:
        limit = os.environ.get("PINTUNE_PIDS", "")
        todo = f"raise PINTUNE_PIDS, which is {limit}" if limit else "raise the limit that ulimit -u shows"
        return Stop("another process or thread", shown, f"the step {step}", todo)
    if number == errno.ENOMEM or isinstance(error, MemoryError) or any(each in words for each in _NO_MEMORY):
        less = {
            "train": "--set training.gradient_checkpointing=true, and training.row_tokens=4096 or"
            " training.batch_contexts=1",
            "evaluate": "--set evaluation.batch_questions=6",
            "export": f"free some memory: export's check loads the whole model, 2 or 4 bytes a weight; then {again}",
        }
        return Stop("memory", shown, f"the step {step}", less.get(step, f"free some memory, then {again}"))
    if number in (errno.ENOSPC, errno.EDQUOT) or any(each in words for each in _NO_SPACE):
        where = str(error.filename) if isinstance(error, OSError) and error.filename else _space(step)
        size = os.environ.get("PINTUNE_TMP", "")
        if size and where.startswith("/tmp"):
            return Stop("space in /tmp", shown, where, f"raise PINTUNE_TMP, which is {size}")
        return Stop("disk space", shown, where, f"free some (old runs are under runs/), then {again}")
    if isinstance(error, OSError) and number in (errno.EACCES, errno.EPERM, errno.EROFS):
        todo = "check its owner, as ls -l shows it"
        return Stop("a file or folder that this user may write", shown, str(error.filename), todo)
    return Stop(
        "the step to succeed", shown, f"pipeline, step {step}", "set PINTUNE_DEBUG=1 to see where, and report it"
    )


def _space(step: str) -> str:
    """What a step writes to, the fullest first: a write that fails does not say where."""
    written = STEPS[step].writes if step in STEPS else ()
    folders = [folder for folder in (*(Path(name) for name in written), Path(tempfile.gettempdir())) if folder.exists()]
    free = sorted((shutil.disk_usage(folder).free, str(folder)) for folder in folders)
    return ", ".join(f"{folder} ({size / 2**20:,.0f} MiB free now)" for size, folder in free)
