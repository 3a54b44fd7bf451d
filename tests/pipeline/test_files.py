"""Atomic writes, and hashes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline import files


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
