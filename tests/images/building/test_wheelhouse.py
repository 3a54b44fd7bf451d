"""Wheels of this machine, by locked hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from images.building import lock, wheelhouse
from images.building.lock import Pin
from images.errors import Stop
from images.pip_config import Settings


def _wheel(folder: Path, name: str, content: bytes) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def test_wheels_with_a_locked_hash_are_gathered(tmp_path: Path) -> None:
    right = _wheel(tmp_path / "a", "Foo_Bar-1.0-py3-none-any.whl", b"right")
    _wheel(tmp_path / "a", "baz-1.0-py3-none-any.whl", b"not what is locked")
    _wheel(tmp_path / "a", "foo_bar-1.0.1-py3-none-any.whl", b"another version")
    indexed = _wheel(tmp_path / "files", "qux-2.0-py3-none-any.whl", b"indexed")
    (tmp_path / "simple" / "qux").mkdir(parents=True)
    (tmp_path / "simple" / "qux" / "index.html").write_text(
        f'<a href="../../files/qux-2.0-py3-none-any.whl#sha256={indexed}">qux</a>'
    )
    pins = [
        Pin("foo-bar", "1.0", frozenset({right})),
        Pin("baz", "1.0", frozenset({"0" * 64})),
        Pin("qux", "2.0", frozenset({indexed})),
    ]
    house = tmp_path / "house"
    _wheel(house, "stale-1.0-py3-none-any.whl", b"from before")
    taken = wheelhouse.gather(pins, Settings(folders=(tmp_path / "a",), local_indexes=(tmp_path / "simple",)), house)
    assert (
        sorted(taken)
        == sorted(path.name for path in house.iterdir())
        == ["Foo_Bar-1.0-py3-none-any.whl", "qux-2.0-py3-none-any.whl"]
    )
    assert (house / "qux-2.0-py3-none-any.whl").read_bytes() == b"indexed"


def test_a_missing_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "six-1.17.0-py2.py3-none-any.whl").write_bytes(b"wheel")
    good = lock.Pin("six", "1.17.0", frozenset({hashlib.sha256(b"wheel").hexdigest()}))
    wheelhouse.need([good], tmp_path)
    with pytest.raises(Stop, match=r"six==1\.18\.0"):
        wheelhouse.need([good, lock.Pin("six", "1.18.0", frozenset({"0" * 64}))], tmp_path)


@pytest.mark.parametrize(
    ("name", "version", "file", "is_it"),
    [
        ("foo-bar", "1.0", "Foo_Bar-1.0-py3-none-any.whl", True),
        ("foo.bar", "1.0", "foo_bar-1.0-1-cp311-cp311-linux_x86_64.whl", True),  # with a build number
        ("torch", "2.13.0+cpu", "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", True),
        ("torch", "2.13.0", "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", False),
        ("foo", "1.0", "foo-1.0.1-py3-none-any.whl", False),
        ("foo", "1.0", "foo_bar-1.0-py3-none-any.whl", False),
        ("foo", "1.0", "foo-1.0.tar.gz", False),
        ("foo", "1.0", "foo-one-py3-none-any.whl", False),
    ],
)
def test_wheel_names(name: str, version: str, file: str, is_it: bool) -> None:
    assert wheelhouse.is_wheel_of(Pin(name, version, frozenset()), file) is is_it


def test_debian_packages_are_needed_too(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="apt's lists"):
        wheelhouse.need_debs(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a_Packages.lz4").touch()
    with pytest.raises(Stop, match="apt's archives"):
        wheelhouse.need_debs(tmp_path)
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "a.deb").touch()
    wheelhouse.need_debs(tmp_path)
