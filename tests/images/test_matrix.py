"""The matrix and its locks: what is there fits together, and what does not is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from images import matrix
from images.building import lock
from images.errors import Stop

TEXT = matrix.FILE.read_text(encoding="utf-8")


@pytest.mark.parametrize("row", lock.wanted(), ids=lambda row: row.path.name)
def test_every_lock_is_there_and_of_this_matrix(row: lock.Row) -> None:
    pins = {pin.name: pin for pin in lock.read(row)}
    assert all(pin.hashes for pin in pins.values())
    for requirement in row.requirements:
        name, _, version = requirement.partition("==")
        assert pins[name.lower().partition("[")[0]].version == version


@pytest.mark.parametrize(
    ("image", "flavor"),
    [(each.name, flavor) for each in matrix.load().images.values() if each.extends for flavor in each.flavors],
)
def test_what_extends_an_image_has_its_very_versions(image: str, flavor: str) -> None:
    """The tests run on what trains, and dev shares train's layers."""
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


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "matrix.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "wanted", "where"),
    [
        (re.search(r"@sha256:[0-9a-f]+", TEXT).group(), "", "a base pinned by digest", "[base] image"),  # type: ignore[union-attr]
        ('python = "3.11"', "python = 3.11", "a string", "base.python"),
        ('extends = "train"', 'extends = "trian"', "an image defined above", "[images.dev]"),
        ('flavors = ["cu130"]', 'flavors = ["cu131"]', "flavors defined above", "[images.serve]"),
        ('cubins = ["7.0", ', "cubins = [7.0, ", "a list of strings", "flavors.cu128.cubins"),
        ('driver = "525.60.13"', "", "a string", "flavors.cu128.driver"),
        ('driver = "525.60.13"', 'driver = "525.x"', "a version such as", "flavors.cu128.driver"),
        ('cubins = ["7.0", ', 'cubins = ["sm_70", ', "a version such as", "flavors.cu128.cubins"),
        ('extends = "train"', 'extends = ["train"]', "an image defined above", "[images.dev]"),
        ('requirements = ["torch==2.13.0+cpu"]', "requirements = [1]", "a list of strings", "flavors.cpu.requirements"),
        ("[base]", "[base", "TOML", "matrix.toml"),
    ],
)
def test_a_broken_matrix_is_refused_where_it_is_broken(
    tmp_path: Path, old: str, new: str, wanted: str, where: str
) -> None:
    assert old in TEXT
    with pytest.raises(Stop) as stopped:
        matrix.load(_file(tmp_path, TEXT.replace(old, new, 1)))
    assert wanted in stopped.value.wanted
    assert where in stopped.value.where


def test_an_unknown_flavor_or_image_names_the_known() -> None:
    with pytest.raises(Stop, match="cpu, cu128, cu130"):
        matrix.load().flavor("cu99")
    with pytest.raises(Stop, match="train, dev, webui, serve"):
        matrix.load().image("trian", "cpu")
    with pytest.raises(Stop, match="a flavor of the image serve: cu130"):
        matrix.load().image("serve", "cpu")


REQUIREMENTS = ("six==1.17.0",)
BODY = "six==1.17.0 \\\n    --hash=sha256:" + "a" * 64 + "\n"


def _lock(tmp_path: Path, body: str = BODY, requirements: tuple[str, ...] = REQUIREMENTS) -> Path:
    path = tmp_path / "train-cpu.txt"
    path.write_text(
        f"{lock._HEADER}\n# requirements: {lock.asked_for(lock.Row(path, requirements))}\n# body: {lock._hashed(body)}\n{body}",
        encoding="utf-8",
    )
    return path


def test_a_lock_is_read(tmp_path: Path) -> None:
    assert lock.read(lock.Row(_lock(tmp_path), REQUIREMENTS)) == [lock.Pin("six", "1.17.0", frozenset({"a" * 64}))]


def test_a_lock_edited_by_hand_is_refused(tmp_path: Path) -> None:
    path = _lock(tmp_path)
    path.write_text(path.read_text().replace("1.17.0", "1.16.0"))
    with pytest.raises(Stop, match="lines changed since"):
        lock.read(lock.Row(path, REQUIREMENTS))


@pytest.mark.parametrize("text", ["", "six==1.17.0\n", lock._HEADER])
def test_a_file_that_is_no_lock_is_refused(tmp_path: Path, text: str) -> None:
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


def test_a_lock_over_another_than_it_was_made_over_is_refused(tmp_path: Path) -> None:
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


def test_a_row_without_lock_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="no such file"):
        lock.read(lock.Row(tmp_path / "none.txt", REQUIREMENTS))
