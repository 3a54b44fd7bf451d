"""The locks of the matrix, and errors in them."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from images import matrix
from images.building import lock
from images.errors import Stop


@pytest.mark.parametrize("row", lock.wanted(), ids=lambda row: row.path.name)
def test_every_lock_exists_and_matches_the_matrix(row: lock.Row) -> None:
    pins = {pin.name: pin for pin in lock.read(row)}
    assert all(pin.hashes for pin in pins.values())
    for requirement in row.requirements:
        name, _, version = requirement.partition("==")
        assert pins[name.lower().partition("[")[0]].version == version


@pytest.mark.parametrize(
    ("image", "flavor"),
    [(each.name, flavor) for each in matrix.load().images.values() if each.extends for flavor in each.flavors],
)
def test_an_image_has_the_versions_of_the_image_that_it_extends(image: str, flavor: str) -> None:
    """So tests run with the versions that train, and dev shares train's layers."""
    known = matrix.load()
    under, over = (
        {pin.name: pin.version for pin in lock.read(lock.row(name, flavor))}
        for name in (known.images[image].extends, image)
    )
    assert under.items() <= over.items()


@pytest.mark.parametrize("path", sorted((matrix.ROOT / "images" / "locks").iterdir()), ids=lambda path: path.name)
def test_no_lock_names_an_address_or_a_path(path: Path) -> None:
    assert not re.search(
        r"https?:|file:|--(extra-)?index|--find-links|/",
        path.read_text(encoding="utf-8").replace("images/matrix.toml", ""),
    )


def test_what_a_row_leaves_out_is_in_no_lock_and_part_of_what_was_asked_for() -> None:
    row = lock.row("webui", "cpu")
    assert row.excludes == ("torchvision",) and "torchvision" not in {pin.name for pin in lock.read(row)}
    assert lock.asked_for(row) != lock.asked_for(dataclasses.replace(row, excludes=()))
    (shown,) = [line for line in lock.shown() if "webui-cpu" in line]
    assert shown.endswith(r"--excludes <(printf '%s\n' torchvision)")
    assert not any("--excludes" in line for line in lock.shown() if line != shown)


REQUIREMENTS = ("six==1.17.0",)


BODY = "six==1.17.0 \\\n    --hash=sha256:" + "a" * 64 + "\n"


def _lock(tmp_path: Path, body: str = BODY, requirements: tuple[str, ...] = REQUIREMENTS) -> Path:
    path = tmp_path / "train-cpu.txt"
    asked = lock.asked_for(lock.Row(path, requirements))
    path.write_text(f"{lock._HEADER}\n# requirements: {asked}\n# body: {lock._hashed(body)}\n{body}", encoding="utf-8")
    return path


def test_a_lock_is_read(tmp_path: Path) -> None:
    assert lock.read(lock.Row(_lock(tmp_path), REQUIREMENTS)) == [lock.Pin("six", "1.17.0", frozenset({"a" * 64}))]


def test_a_lock_edited_by_hand_is_refused(tmp_path: Path) -> None:
    path = _lock(tmp_path)
    path.write_text(path.read_text().replace("1.17.0", "1.16.0"))
    with pytest.raises(Stop, match="lines changed since"):
        lock.read(lock.Row(path, REQUIREMENTS))


@pytest.mark.parametrize("text", ["", "six==1.17.0\n", lock._HEADER])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises(Stop, match="invoke lock"):
        lock.read(lock.Row(tmp_path / "l.txt", REQUIREMENTS))


def test_a_lock_of_another_matrix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="other requirements"):
        lock.read(lock.Row(_lock(tmp_path), ("six==1.16.0",)))


def test_a_lock_of_another_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _lock(tmp_path)
    monkeypatch.setattr(
        matrix,
        "load",
        lambda: matrix.Matrix(matrix.Base("b@sha256:0", "linux/amd64", "3.12", "bookworm", "d"), (), {}, {}),
    )
    with pytest.raises(Stop, match="other requirements"):
        lock.read(lock.Row(path, REQUIREMENTS))


def test_a_lock_on_top_of_a_changed_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "under.txt").write_text("a")
    over = lock.Row(tmp_path / "over.txt", REQUIREMENTS, extends=tmp_path / "under.txt")
    over.path.write_text(
        f"{lock._HEADER}\n# requirements: {lock.asked_for(over)}\n# body: {lock._hashed(BODY)}\n{BODY}",
        encoding="utf-8",
    )
    assert lock.read(over)
    (tmp_path / "under.txt").write_text("b")
    with pytest.raises(Stop, match="other requirements"):
        lock.read(over)


def test_a_missing_lock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="no such file"):
        lock.read(lock.Row(tmp_path / "none.txt", REQUIREMENTS))


def test_pins_are_read_with_extras_local_versions_and_several_hashes() -> None:
    hashes = ["a" * 64, "b" * 64]
    body = (
        f"# comment\ntorch==2.13.0+cpu \\\n    --hash=sha256:{hashes[0]} \\\n    --hash=sha256:{hashes[1]}\n"
        f"coverage[toml]==7.1 \\\n    --hash=sha256:{hashes[0]}\n"
    )
    assert list(lock.parse(body)) == [
        lock.Pin("torch", "2.13.0+cpu", frozenset(hashes)),
        lock.Pin("coverage", "7.1", frozenset(hashes[:1])),
    ]
