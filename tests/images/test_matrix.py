"""The matrix and its locks: what is there fits together, and what does not is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from images import lock, matrix
from images.errors import Stop

TEXT = matrix.FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "requirements"), [(path, requirements) for path, requirements, _ in lock.wanted()], ids=lambda x: getattr(x, "name", "")
)
def test_every_lock_is_there_and_of_this_matrix(path: Path, requirements: tuple[str, ...]) -> None:
    pins = {pin.name: pin for pin in lock.read(path, requirements)}
    assert all(pin.hashes for pin in pins.values())
    for requirement in requirements:
        name, _, version = requirement.partition("==")
        assert pins[name.lower()].version == version


def test_the_tests_run_on_what_the_image_trains_with() -> None:
    known = matrix.load()
    train, test = ({p.name: p.version for p in lock.read(matrix.lock_file(i, "cpu"), known.requirements(i, "cpu"))} for i in ("train", "test"))
    assert train.items() <= test.items()


@pytest.mark.parametrize("path", sorted((matrix.ROOT / "images" / "locks").iterdir()), ids=lambda path: path.name)
def test_no_lock_names_an_address_or_a_path(path: Path) -> None:
    assert not re.search(r"https?:|file:|--(extra-)?index|--find-links|/", path.read_text(encoding="utf-8").replace("images/matrix.toml", ""))


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "matrix.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "wanted", "where"),
    [
        (re.search(r"@sha256:[0-9a-f]+", TEXT).group(), "", "a base pinned by digest", "[base] image"),  # type: ignore[union-attr]
        ('python = "3.11"', "python = 3.11", "a string", "base.python"),
        ('extends = "train"', 'extends = "trian"', "an image defined above", "[images.test]"),
        ('requirements = ["torch==2.13.0+cpu"]', "requirements = [1]", "a list of strings", "flavors.cpu.requirements"),
        ("[base]", "[base", "TOML", "matrix.toml"),
    ],
)
def test_a_broken_matrix_is_refused_where_it_is_broken(tmp_path: Path, old: str, new: str, wanted: str, where: str) -> None:
    assert old in TEXT
    with pytest.raises(Stop) as stopped:
        matrix.load(_file(tmp_path, TEXT.replace(old, new, 1)))
    assert wanted in stopped.value.wanted
    assert where in stopped.value.where


def test_an_unknown_flavor_names_the_known() -> None:
    with pytest.raises(Stop, match="cpu"):
        matrix.load().flavor("cu99")


REQUIREMENTS = ("six==1.17.0",)
BODY = "six==1.17.0 \\\n    --hash=sha256:" + "a" * 64 + "\n"


def _lock(tmp_path: Path, body: str = BODY, requirements: tuple[str, ...] = REQUIREMENTS) -> Path:
    path = tmp_path / "train-cpu.txt"
    path.write_text(f"{lock._HEADER}\n# requirements: {lock.asked_for(requirements)}\n# body: {lock._hashed(body)}\n{body}", encoding="utf-8")
    return path


def test_a_lock_is_read(tmp_path: Path) -> None:
    assert lock.read(_lock(tmp_path), REQUIREMENTS) == [lock.Pin("six", "1.17.0", frozenset({"a" * 64}))]


def test_a_lock_edited_by_hand_is_refused(tmp_path: Path) -> None:
    path = _lock(tmp_path)
    path.write_text(path.read_text().replace("1.17.0", "1.16.0"))
    with pytest.raises(Stop, match="lines changed since"):
        lock.read(path, REQUIREMENTS)


@pytest.mark.parametrize("text", ["", "six==1.17.0\n", lock._HEADER])
def test_a_file_that_is_no_lock_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises(Stop, match="invoke lock"):
        lock.read(tmp_path / "l.txt", REQUIREMENTS)


def test_a_lock_of_another_matrix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="other requirements"):
        lock.read(_lock(tmp_path), ("six==1.16.0",))


def test_a_lock_of_another_python_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _lock(tmp_path)
    monkeypatch.setattr(matrix, "load", lambda: matrix.Matrix(matrix.Base("b@sha256:0", "linux/amd64", "3.12"), (), {}, {}))
    with pytest.raises(Stop, match="other requirements"):
        lock.read(path, REQUIREMENTS)


def test_a_row_without_lock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="no such file"):
        lock.read(tmp_path / "none.txt", REQUIREMENTS)
