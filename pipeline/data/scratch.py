"""A database on disk for the time of a step, so that memory does not grow with the data."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self


class ScratchDatabase:
    """A new SQLite database at `path`, which is removed when the block ends; a crash may leave a damaged one.

    Args:
        tables: the SQL that makes them.
    """

    def __init__(self, path: Path, tables: str) -> None:
        self._path = path
        self._path.unlink(missing_ok=True)
        self._base = sqlite3.connect(self._path)
        self._base.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-4000; {tables}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()
        self._path.unlink(missing_ok=True)
