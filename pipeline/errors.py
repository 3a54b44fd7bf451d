"""The one exception that reaches a person, in the same four parts everywhere."""

from __future__ import annotations

import shutil
from pathlib import Path

PAUSED = 75  # exit status of a training that was told to stop and has saved: EX_TEMPFAIL of sysexits.h, try again later


class Stop(Exception):
    """A step cannot go on. Printed as four short lines, without a traceback.

    Args:
        wanted: what the step needed.
        found: what was there instead.
        where: file and field, or the place in the program's input.
        todo: the next command or edit that gets on with it.
    """

    status = 1  # that the process ends with

    def __init__(self, wanted: str, found: str, where: str, todo: str) -> None:
        self.wanted, self.found, self.where, self.todo = wanted, found, where, todo
        super().__init__(f"wanted: {wanted}\n found: {found}\n where: {where}\n  next: {todo}")


class OwnStop(Stop):
    """One that a single process ran into, of several that train together; any other is raised by all of them, and said by the first."""


def need_space(folder: Path, size: int) -> None:
    """Raise Stop unless `folder`'s file system has `size` bytes free, so that a write fails before it begins."""
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise Stop(
            wanted=f"{size / 2**20:,.0f} MiB free",
            found=f"{free / 2**20:,.0f} MiB free",
            where=str(folder),
            todo="free some disk space (old runs are under runs/), then run the same command again",
        )
