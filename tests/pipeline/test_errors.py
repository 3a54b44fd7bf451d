"""The message that reaches a person."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.errors import Stop, need_space


def test_need_space_stops_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free=2**20))
    with pytest.raises(Stop, match="10 MiB free\n found: 1 MiB free"):
        need_space(tmp_path / "not" / "there", 10 * 2**20)
