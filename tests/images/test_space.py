"""Disk space, measured and required."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from images import space
from images.errors import Stop


def test_a_path_need_not_exist(tmp_path: Path) -> None:
    free = space.free(tmp_path / "not" / "there")
    assert abs(free - shutil.disk_usage(tmp_path).free) < space.GIB


def test_too_little_space_stops() -> None:
    with pytest.raises(Stop) as stopped:
        space.need_space(4 * space.GIB, space.GIB, "/here", "free some")
    stop = stopped.value
    assert (stop.wanted, stop.found, stop.where, stop.todo) == ("4 GiB free", "1.0 GiB", "/here", "free some")


@pytest.mark.parametrize("available", [4 * space.GIB, None])
def test_enough_space_or_an_unknown_disk_goes_ahead(available: int | None) -> None:
    space.need_space(4 * space.GIB, available, "/here", "free some")
