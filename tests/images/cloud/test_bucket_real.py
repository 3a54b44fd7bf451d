"""The script that trains on a machine's own disk and copies to a bucket: machines are lost, and the run goes on.

The bucket is a folder. A lost machine is a process group that is killed and a folder that is not used again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from images import matrix
from images.cloud import bucket
from images.cloud import job as jobs
from images.running.choices import Choices
from tests.conftest import ROOT
from tests.steps import RECIPE

SETTINGS = ("training.batch_contexts=2", "training.epochs=6", "training.checkpoint_steps=1")


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout with the recipe under data/, where the script is written."""
    (tmp_path / "host" / "data").mkdir(parents=True)
    (tmp_path / "host" / "data" / "tiny.toml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path / "host")
    monkeypatch.setattr(matrix, "ROOT", tmp_path / "host")


def _job() -> jobs.Job:
    return jobs.make(Choices("data/tiny.toml", "cpu", "auto", SETTINGS), image="r/x@sha256:" + "a" * 64)


class Machine:
    """A working folder, and the script in it."""

    def __init__(self, folder: Path, model: Path, storage: Path, number: str) -> None:
        self.folder, self.storage = folder, storage
        shutil.copytree(model, folder / "models" / "tiny")
        (folder / "data").mkdir()
        (folder / "data" / "tiny.toml").write_text(RECIPE)
        text = bucket.script(_job(), str(storage), "JOB_NUMBER", str(folder), sys.executable, 1)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PINTUNE_FLAVOR": "cpu", "OMP_NUM_THREADS": "1"}
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", text],
                env={**environment, "JOB_NUMBER": number},
                cwd=folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def lose(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        shutil.rmtree(self.folder)

    def end(self) -> tuple[int, str]:
        status = self.process.wait(200)
        return status, (self.folder / "log").read_text()


def _saved(storage: Path) -> list[Path]:
    found = storage.glob("runs/tiny/*/checkpoints/checkpoint-*/sealed.json")
    return sorted((each.parent for each in found), key=lambda path: int(path.name.rpartition("-")[2]))


def _wait(machine: Machine, storage: Path, step: int) -> None:
    end = time.monotonic() + 120
    while not any(int(each.name.rpartition("-")[2]) >= step for each in _saved(storage)):
        assert machine.process.poll() is None and time.monotonic() < end, machine.end()[1]
        time.sleep(0.05)


def _adapter(storage: Path) -> str:
    (manifest,) = storage.glob("runs/tiny/*/manifest.json")
    return str(json.loads(manifest.read_text())["training"]["adapter_sha256"])


def test_a_run_goes_on_from_the_bucket_to_the_same_adapter(tiny_model: Path, tmp_path: Path) -> None:
    whole, storage = tmp_path / "whole", tmp_path / "bucket"
    whole.mkdir()
    storage.mkdir()
    status, log = Machine(tmp_path / "0", tiny_model, whole, "other").end()
    assert status == 0, log
    first = Machine(tmp_path / "1", tiny_model, storage, "7")
    _wait(first, storage, 2)
    first.lose()
    newest = _saved(storage)[-1]
    (newest / "adapter_model.safetensors").write_bytes(b"cut off")  # as a copy that the loss has interrupted
    second = Machine(tmp_path / "2", tiny_model, storage, "7")
    _wait(second, storage, int(newest.name.rpartition("-")[2]) + 2)
    os.killpg(second.process.pid, signal.SIGTERM)  # told before: the run saves
    status, log = second.end()
    assert (status, f"{newest.name} is corrupt and kept" in log) == (75, True), log
    status, log = Machine(tmp_path / "3", tiny_model, storage, "7").end()
    assert status == 0, log
    assert log.count("train  resuming from") == 1
    assert _adapter(storage) == _adapter(whole)
    assert not list(storage.glob("runs/tiny/*/unfinished.json"))
    assert not (storage / "runs/tiny/.job").exists()


def test_a_bucket_in_which_another_job_trains_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    storage = tmp_path / "bucket"
    (storage / "runs/tiny").mkdir(parents=True)
    mark = storage / "runs/tiny/.job"
    mark.write_text("other 1\n")
    machine = Machine(tmp_path / "1", tiny_model, storage, "7")
    time.sleep(1)
    mark.write_text("other 2\n")
    status, log = machine.end()
    assert (status, "found: job other trains" in log) == (1, True), log
    assert not list(storage.glob("runs/tiny/[0-9]*"))


def test_a_bucket_that_is_not_mounted_is_said(tiny_model: Path, tmp_path: Path) -> None:
    status, log = Machine(tmp_path / "1", tiny_model, tmp_path / "bucket", "7").end()
    assert (status, "found: nothing mounted" in log) == (1, True), log
