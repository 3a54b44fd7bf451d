"""No disk space: said before anything is built, and nothing of before is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from images import engine
from images.building import build
from images.errors import Stop
from images.running import venv
from images.verbs import doctor


class Usage(NamedTuple):
    free: int


def test_an_environment_is_not_begun_on_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(venv, "folder", lambda image, flavor: tmp_path / "venv" / "train")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**30))
    with pytest.raises(Stop, match=r"4 GiB free\n found: 1\.0 GiB"):
        venv.build("train", "cpu", dry=False)
    assert not list(tmp_path.iterdir())


def test_an_image_is_not_begun_where_the_engines_disk_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "free_space", lambda: 2**30)
    with pytest.raises(Stop, match="docker system prune"):
        build._need_space(8 * 2**30)
    monkeypatch.setattr(engine, "free_space", lambda: None)  # an engine on another machine
    build._need_space(8 * 2**30)


@pytest.mark.parametrize(
    ("free", "cuda", "more"), [(25, True, "5.0"), (25, False, None), (31, True, None), (9.9, False, "0.1")]
)
def test_doctor_says_when_the_disk_is_too_small(
    monkeypatch: pytest.MonkeyPatch, free: float, cuda: bool, more: str | None
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(int(free * 2**30)))
    found = doctor._disk(cuda)
    assert found.found.startswith(f"{free:.1f} GiB free")
    assert (found.severity, f"free {more} GiB more" in found.remedy) == ("wrong" if more else "ok", more is not None)
