"""Copies of runs: against a container of blobs in memory here, and a real one in test_runs_copy_real.py."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest

from images.cloud import runs_copy


@dataclass
class Blob:
    """A blob, and what `download_blob` returns for it."""

    name: str
    content: bytes
    last_modified: datetime.datetime

    @property
    def size(self) -> int:
        return len(self.content)

    def readinto(self, file: BinaryIO) -> int:
        return file.write(self.content)


class Container:
    """As azure.storage.blob.ContainerClient; an upload that fails leaves nothing."""

    def __init__(self) -> None:
        self.blobs: dict[str, Blob] = {}
        self.fail = ""

    def list_blobs(self) -> Iterator[Blob]:
        return iter(list(self.blobs.values()))

    def upload_blob(self, name: str, file: BinaryIO, overwrite: bool) -> None:
        assert overwrite
        if name == self.fail:
            raise OSError("cut off")
        self.blobs[name] = Blob(name, file.read(), datetime.datetime.now(datetime.timezone.utc))

    def download_blob(self, name: str) -> Blob:
        if name == self.fail:
            raise OSError("cut off")
        return self.blobs[name]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for name, text in (("q/1/metrics.jsonl", "{}"), ("q/1/checkpoint-2/seal.json", "s"), ("q/1/empty", "")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
        os.utime(folder / name, (1, 1))
    (folder / "q/latest").symlink_to("1")
    return folder


def test_what_is_saved_is_restored(runs: Path, tmp_path: Path) -> None:
    container = Container()
    assert runs_copy.save(container, runs) == 3
    assert runs_copy.restore(container, tmp_path / "new") == 3
    assert (tmp_path / "new/q/1/checkpoint-2/seal.json").read_text() == "s"
    assert runs_copy.restore(container, tmp_path / "new") == 0


def test_what_is_being_written_is_not_saved(runs: Path) -> None:
    (runs / "q/1/checkpoints/.staging/checkpoint-3").mkdir(parents=True)
    (runs / "q/1/checkpoints/.staging/checkpoint-3/adapter").write_text("half", encoding="utf-8")
    (runs / f"q/1/x{runs_copy.STAGED}").write_text("half", encoding="utf-8")
    container = Container()
    assert runs_copy.save(container, runs) == 3
    assert not [name for name in container.blobs if "stag" in name or name.endswith(runs_copy.STAGED)]


def test_only_what_changed_is_saved_again(runs: Path) -> None:
    container = Container()
    runs_copy.save(container, runs)
    assert runs_copy.save(container, runs) == 0
    (runs / "q/1/metrics.jsonl").write_text("{}\n{}", encoding="utf-8")
    assert runs_copy.save(container, runs) == 1
    (runs / "q/1/metrics.jsonl").write_text("{}\n[]", encoding="utf-8")  # of the same size, and later
    os.utime(runs / "q/1/metrics.jsonl", (2**32, 2**32))
    assert runs_copy.save(container, runs) == 1
    assert container.blobs["q/1/metrics.jsonl"].content == b"{}\n[]"


def test_a_restore_never_replaces_what_is_here(runs: Path) -> None:
    container = Container()
    runs_copy.save(container, runs)
    (runs / "q/1/metrics.jsonl").write_text("later", encoding="utf-8")
    assert runs_copy.restore(container, runs) == 0
    assert (runs / "q/1/metrics.jsonl").read_text() == "later"


def test_a_restore_that_is_cut_off_leaves_no_half_file_and_goes_on(runs: Path, tmp_path: Path) -> None:
    container = Container()
    runs_copy.save(container, runs)
    container.fail = "q/1/metrics.jsonl"
    with pytest.raises(OSError, match="cut off"):
        runs_copy.restore(container, tmp_path / "new")
    assert not (tmp_path / "new/q/1/metrics.jsonl").exists()
    container.fail = ""
    runs_copy.restore(container, tmp_path / "new")
    assert (tmp_path / "new/q/1/metrics.jsonl").read_text() == "{}"
    assert not list((tmp_path / "new").rglob(f"*{runs_copy.STAGED}"))


def test_a_run_that_is_here_does_not_get_its_old_checkpoints_back(runs: Path) -> None:
    container = Container()
    runs_copy.save(container, runs)
    (runs / "q/1/checkpoint-2/seal.json").unlink()
    assert runs_copy.restore(container, runs) == 0
    assert not (runs / "q/1/checkpoint-2/seal.json").exists()


def test_a_restored_recipe_has_its_newest_finished_run_as_latest(runs: Path, tmp_path: Path) -> None:
    container = Container()
    for name in ("1", "2"):
        (runs / "q" / name).mkdir(exist_ok=True)
        (runs / "q" / name / "manifest.json").write_text("{}", encoding="utf-8")
    (runs / "q/3").mkdir()
    (runs / "q/3/unfinished.json").write_text("{}", encoding="utf-8")
    runs_copy.save(container, runs)
    runs_copy.restore(container, tmp_path / "new")
    assert (tmp_path / "new/q/latest").readlink() == Path("2")


@pytest.mark.parametrize("name", ["../out/x/y", "a/../../out", "/out/x/y"])
def test_a_blob_that_leads_out_of_the_folder_is_not_restored(tmp_path: Path, name: str) -> None:
    container = Container()
    now = datetime.datetime.now(datetime.timezone.utc)
    container.blobs[name] = Blob(name, b"x", now)
    assert runs_copy.restore(container, tmp_path / "runs") == 0
    assert not (tmp_path / "out").exists()
