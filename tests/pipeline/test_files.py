"""Atomic writes, and hashes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import files
from tests.conftest import ROOT


def test_git_blob_id_is_that_of_git_hash_object(tmp_path: Path) -> None:
    file = tmp_path / "hello"
    file.write_bytes(b"hello\n")
    assert files.git_blob_id(file) == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object


def test_a_failed_block_keeps_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "merged"
    with files.atomic_folder(target) as staging:
        (staging / "weights").write_text("old")
    with pytest.raises(RuntimeError), files.atomic_folder(target) as staging:
        (staging / "weights").write_text("ne")
        raise RuntimeError
    assert (target / "weights").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for number in range(2):
        with files.atomic_folder(tmp_path / "merged") as staging:
            (staging / str(number)).write_text("")
    assert os.listdir(tmp_path / "merged") == ["1"]
    assert os.listdir(tmp_path) == ["merged"]


_WRITER = """
import pathlib, sys, time
from pipeline import files
with files.atomic_{kind}(pathlib.Path(sys.argv[1])) as staging:
    (staging / "weights" if "{kind}" == "folder" else staging).write_text("new")
    print("writes", flush=True)
    time.sleep(60)
"""


def _writing(target: Path, kind: str = "folder") -> subprocess.Popen[str]:
    """A process that is in the middle of an atomic write."""
    command = [sys.executable, "-c", _WRITER.format(kind=kind), str(target)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "writes\n"
    return process


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_a_killed_process_staged_is_removed_by_the_next_write_there(tmp_path: Path, kind: str) -> None:
    killed, alive = _writing(tmp_path / "merged", kind), _writing(tmp_path / "merged", kind)
    _kill(killed)
    assert len(list(tmp_path.iterdir())) == 2
    files.write_text(tmp_path / "other", "")
    assert len(list(tmp_path.iterdir())) == 2  # the other, and what the living process stages
    _kill(alive)
    files.write_text(tmp_path / "other", "")
    assert os.listdir(tmp_path) == ["other"]


def test_a_process_killed_while_it_replaces_a_folder_loses_neither(tmp_path: Path) -> None:
    """A kill between the two renames: the old folder is moved away, the new one not there yet."""
    target = tmp_path / "merged"
    with files.atomic_folder(target) as staging:
        (staging / "weights").write_text("old")
    killed = _writing(target)
    _kill(killed)
    (left,) = tmp_path.glob(".*")
    target.rename(left / ".old")
    files.write_text(tmp_path / "other", "")
    assert (target / "weights").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["merged", "other"]


def test_processes_that_replace_one_folder_at_once_all_succeed(tmp_path: Path) -> None:
    script = """
import pathlib, sys
from pipeline import files
for number in range(400):
    with files.atomic_folder(pathlib.Path(sys.argv[1])) as staging:
        (staging / "weights").write_text("x" * 1000)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "merged")]
    for process in [subprocess.Popen(command, cwd=ROOT) for _ in range(6)]:
        assert process.wait() == 0
    assert os.listdir(tmp_path) == ["merged"]
    assert (tmp_path / "merged" / "weights").read_text() == "x" * 1000


def test_a_folder_that_must_be_new_replaces_none(tmp_path: Path) -> None:
    with files.atomic_folder(tmp_path / "run", replace=False) as staging:
        (staging / "mine").touch()
    with pytest.raises(FileExistsError), files.atomic_folder(tmp_path / "run", replace=False) as staging:
        (staging / "other").touch()
    assert os.listdir(tmp_path) == ["run"]
    assert os.listdir(tmp_path / "run") == ["mine"]


def test_a_link_to_another_disk_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "weights").write_text("there")
    (tmp_path / "merged").symlink_to(tmp_path / "disk")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    for name in ("merged", "dangling"):
        with files.atomic_folder(tmp_path / name) as staging:
            (staging / "weights").write_text("here")
        assert (tmp_path / name / "weights").read_text() == "here"
    assert (tmp_path / "disk" / "weights").read_text() == "there"
    assert sorted(os.listdir(tmp_path)) == ["dangling", "disk", "merged"]
