"""The folder of a build without network; test_release_real.py fills one and builds from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.building import offline
from images.errors import Stop


def test_a_build_with_network_has_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert offline.folder(False, "") is None
    assert offline.folder(True, "") == tmp_path / "wheelhouse"
    assert offline.folder(True, "carried") == tmp_path / "carried"
    with pytest.raises(Stop, match="add --offline"):
        offline.folder(False, "carried")


@pytest.mark.parametrize(
    ("image", "flavor", "lists", "locks"),
    [
        ("train", "cpu", "base tools", "tools.txt train-cpu.txt"),
        ("dev", "cu130", "base tools cuda dev", "tools.txt train-cu130.txt dev-cu130.txt"),
        ("serve", "cu130", "base tools cuda serve", "tools.txt serve-cu130.txt"),
    ],
)
def test_the_command_names_every_list_and_lock(image: str, flavor: str, lists: str, locks: str) -> None:
    command = offline.gather(image, flavor, Path("/to"), dry=True)
    assert "--output type=local,dest=/to" in command
    assert "--target offline" in command
    assert f"'LISTS={lists}'" in command
    assert f"'LOCKS={locks}'" in command
    assert "--tag" not in command
