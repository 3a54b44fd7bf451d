"""Commits of a real repository, unpacked, and archives that are refused."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from images import git, matrix
from images.errors import Stop

WHEN = {"GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z", "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z"}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit with a program, a text in a folder, and a link to it."""
    root = tmp_path / "repository"
    (root / "folder").mkdir(parents=True)
    (root / "program.sh").write_text("#!/bin/sh\n")
    (root / "program.sh").chmod(0o755)
    (root / "folder" / "text").write_text("of the commit")
    (root / "link").symlink_to("folder/text")
    (root / "pyproject.toml").write_text('[project]\nversion = "3.2.1"\n')
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.invalid")
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "all")):
        subprocess.run(["git", *identity, *words], cwd=root, check=True, env={**os.environ, **WHEN})
    monkeypatch.setattr(matrix, "ROOT", root)
    return root


def test_revision_version_and_time(repository: Path) -> None:
    head, dirty = git.revision()
    assert (len(head), dirty) == (40, False)
    assert (git.version(), git.commit_time()) == ("3.2.1", 1767225600)
    (repository / "new").touch()
    assert git.revision() == (head, True)


def test_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert (git.revision(), git.commit_time()) == (("", False), 0)


def test_a_checkout_without_git_inside_another_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unpacked from a zip: the commit of the repository around it says nothing about it."""
    for name in ("unpacked", "emptied"):
        (repository / name).mkdir()
    (repository / "emptied" / ".git").mkdir()
    for name in ("unpacked", "emptied"):
        monkeypatch.setattr(matrix, "ROOT", repository / name)
        assert (git.revision(), git.commit_time()) == (("", False), 0)


@pytest.mark.parametrize("name", ["a [b]* ?", 'o\'clock "x"', "a:b,c", "two\nlines", "检出", "-c"])
def test_a_repository_anywhere(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = git.revision()
    moved = repository.rename(tmp_path / name)
    monkeypatch.setattr(matrix, "ROOT", moved)
    assert git.revision() == before
    git.export(before[0], tmp_path / "out")
    assert (tmp_path / "out" / "program.sh").exists()


def test_a_commit_is_unpacked_with_the_same_modes_and_times_everywhere(repository: Path, tmp_path: Path) -> None:
    (repository / "folder" / "text").write_text("changed since")
    out = tmp_path / "out"
    before = os.umask(0o077)
    try:
        git.export(git.revision()[0], out)
    finally:
        os.umask(before)
    assert (out / "link").readlink() == Path("folder/text")
    assert (out / "link").read_text() == "of the commit"
    modes = {name: stat.S_IMODE((out / name).stat().st_mode) for name in ("program.sh", "folder", "folder/text")}
    assert modes == {"program.sh": 0o755, "folder": 0o755, "folder/text": 0o644}
    assert {(out / name).stat().st_mtime for name in modes} == {1767225600}


def test_a_commit_that_git_does_not_have(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="git fsck"):
        git.export("0" * 40, tmp_path / "out")


def _entry(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, to
    return entry


@pytest.mark.parametrize(
    "entries",
    [
        [_entry("../out")],
        [_entry("link", tarfile.SYMTYPE, "../out")],
        [_entry("link", tarfile.SYMTYPE, "/etc")],
        [
            _entry("a", tarfile.DIRTYPE),
            _entry("b/c", tarfile.SYMTYPE, "../a"),
            _entry("d", tarfile.SYMTYPE, "b/c/../.."),
        ],
        [_entry("hard", tarfile.LNKTYPE, "file")],
        [_entry("device", tarfile.CHRTYPE)],
    ],
    ids=["path", "link", "absolute link", "link through a link", "hard link", "device"],
)
def test_an_archive_that_leads_out_is_refused(tmp_path: Path, entries: list[tarfile.TarInfo]) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for entry in entries:
            tar.addfile(entry)
    raw.seek(0)
    with tarfile.open(fileobj=raw) as tar, pytest.raises(Stop, match="remove it from the commit"):
        git.unpack(tar, tmp_path / "inside")
    assert {path.name for path in tmp_path.iterdir()} <= {"inside"}
