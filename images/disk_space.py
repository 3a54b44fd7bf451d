"""Disk space: measured, and required before work begins that would fill the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from images.errors import Stop

GIB = 2**30


def free(path: Path) -> int:
    """Bytes free on the file system of `path`, which need not exist yet."""
    existing = next(each for each in (path, *path.parents) if each.exists())
    return shutil.disk_usage(existing).free


def writable(folder: Path) -> bool:
    """Whether a folder can be written, or made."""
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)


def need_space(size: int, available: int | None, where: str, todo: str) -> None:
    """Raise Stop unless `size` bytes are available; None: the disk cannot be measured."""
    if available is not None and available < size:
        raise Stop(f"{size / GIB:.0f} GiB free", f"{available / GIB:.1f} GiB", where, todo)
