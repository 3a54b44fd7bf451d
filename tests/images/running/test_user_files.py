"""The caller's files: their names in a step, and the mounts that bring them there."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import matrix
from images.errors import Stop
from images.running import (
    user_files,
)
from images.running.user_files import UserFile


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout, which is the caller's working directory."""
    made = tmp_path / "checkout"
    (made / "runs" / "r" / "1").mkdir(parents=True)
    (made / "runs" / "r" / "1" / "p.json").write_text("{}")
    (made / "runs" / "r" / "latest").symlink_to("1")
    (tmp_path / "outside.json").write_text("{}")
    (made / "runs" / "linked.json").symlink_to(tmp_path / "outside.json")
    (made / "inside.json").write_text("{}")
    monkeypatch.setattr(matrix, "ROOT", made)
    monkeypatch.chdir(made)
    return made


def test_names_and_mounts(root: Path) -> None:
    outside = str(root.parent / "outside.json")
    expected = {
        "inside.json": ("inside.json", ["/pintune/inside.json"]),
        "./x/../inside.json": ("inside.json", ["/pintune/inside.json"]),
        "../outside.json": (outside, [outside]),
        outside: (outside, [outside]),
        "runs/r/latest/p.json": ("runs/r/latest/p.json", []),  # in a folder that every step has
        "runs/linked.json": ("runs/linked.json", ["/pintune/runs/linked.json"]),  # only its link is
    }
    for path, (name, targets) in expected.items():
        file = user_files.of(Path(path))
        assert file.name == name
        assert [mount.target for mount in user_files.mounts([file])] == targets
    inside = [user_files.of(Path(path)) for path in ("inside.json", "./inside.json")]
    (mount,) = user_files.mounts(inside)
    assert not mount.writable


def test_the_last_data_source_counts(root: Path) -> None:
    (root / "mine.toml").write_text('[data]\nsource = "a.json"\n')
    found = user_files.data_file("mine.toml", ())
    assert found == UserFile(Path("a.json"), "a.json")
    assert user_files.data_file("mine.toml", ("data.source=tatqa",)) is None
    overrides = ("lora.r=8", "data.source=x.json", "data.source = 'b c.jsonl'")
    assert user_files.data_file("quickstart", overrides) == UserFile(Path("b c.jsonl"), "b c.jsonl")
    assert user_files.data_file("quickstart", ()) is None
    for path in ("x.csv", "x.jsonl.gz", "./folder", "folder/", "x.parquet"):
        assert user_files.data_file("quickstart", (f"data.source={path}",)) == user_files.of(Path(path))
    (root / "mine.toml").write_text("[data]\nsource = 'a.json'\n", encoding="utf-8-sig")
    assert user_files.data_file("mine.toml", ()) == found
    (root / "mine.toml").write_text("[data\n")
    assert user_files.data_file("mine.toml", ()) is None


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="none given"):
        user_files.existing("", "a gold file", "pass --gold")
    with pytest.raises(Stop, match="no such file"):
        user_files.existing(str(tmp_path), "a gold file", "pass --gold")
