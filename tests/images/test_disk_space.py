"""Disk space, measured and required."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from images import disk_space
from images.errors import Stop


def test_a_path_need_not_exist(tmp_path: Path) -> None:
    free = disk_space.free(tmp_path / "not" / "there")
    assert abs(free - shutil.disk_usage(tmp_path).free) < disk_space.GIB


def test_too_little_space_stops() -> None:
    with pytest.raises(Stop) as stopped:
        disk_space.need_space(4 * disk_space.GIB, disk_space.GIB, "/here", "free some")
    stop = stopped.value
    assert (stop.wanted, stop.found, stop.where, stop.todo) == ("4 GiB free", "1.0 GiB", "/here", "free some")


@pytest.mark.parametrize("available", [4 * disk_space.GIB, None])
def test_enough_space_or_an_unknown_disk_goes_ahead(available: int | None) -> None:
    disk_space.need_space(4 * disk_space.GIB, available, "/here", "free some")
