"""Wheels that this machine has, by locked hash."""

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


def test_the_wheelhouse_takes_what_is_locked_by_hash(tmp_path: Path) -> None:
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


def test_a_wheelhouse_that_lacks_a_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "six-1.17.0-py2.py3-none-any.whl").write_bytes(b"wheel")
    good = lock.Pin("six", "1.17.0", frozenset({hashlib.sha256(b"wheel").hexdigest()}))
    wheelhouse.need([good], tmp_path)
    with pytest.raises(Stop, match=r"six==1\.18\.0"):
        wheelhouse.need([good, lock.Pin("six", "1.18.0", frozenset({"0" * 64}))], tmp_path)
