"""The batch script in a real SLURM of two nodes: the steps of one process, and no end by cancel, requeue or limit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from images.building import lock
from tests.conftest import ROOT, _copy, invoke_in
from tests.images.cloud.slurm_cluster import Cluster, cluster
from tests.steps import RECIPE

SETTINGS = ("training.batch_contexts=2", "training.epochs=8", "training.checkpoint_steps=1")
OVERRIDES = tuple(word for each in SETTINGS for word in ("--set", each))
STEPS = 24
RESUMED = "train  resuming from"


@dataclass(frozen=True)
class Site:
    """A checkout whose data and model are there, on a cluster."""

    folder: Path
    cluster: Cluster
    script: Path

    def submit(self) -> str:
        """Submit the script; returns the job's number."""
        return self.cluster.run("sbatch", "--parsable", str(self.script))

    def log(self, number: str) -> str:
        return (self.script.parent / f"pintune-tiny-{number}.log").read_text()

    def wait_for_start(self, count: int, number: str) -> None:
        """Wait until a job has started to train `count` times."""
        while self.log(number).count(RESUMED) < count - 1:
            assert self.cluster.state(number) in ("PENDING", "RUNNING", "COMPLETING"), self.log(number)
            time.sleep(0.2)

    def runs(self) -> list[Path]:
        return sorted(self.folder.glob("runs/tiny/[0-9]*"))

    def wait_for_checkpoint(self, step: int, number: str, others: list[Path]) -> Path:
        """Wait until the job's run, which is not among the others, has saved step `step` or a later one."""
        while True:
            for run in set(self.runs()) - set(others):
                saved = [int(each.name.rpartition("-")[2]) for each in run.glob("checkpoints/checkpoint-*")]
                if max(saved, default=0) >= step:
                    return run
            assert self.cluster.state(number) in ("PENDING", "RUNNING", "COMPLETING"), self.log(number)
            time.sleep(0.2)


def _manifest(run: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run / "manifest.json").read_text())
    return read


def _losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def _pipeline(folder: Path, *words: str) -> None:
    known = {"PYTHONPATH": str(folder), "PINTUNE_FLAVOR": "cpu", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **known}
    done = subprocess.run([sys.executable, "-m", "pipeline", *words], cwd=folder, env=environment, timeout=240)
    assert done.returncode == 0


@pytest.fixture(scope="module")
def site(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A cluster, and a checkout in which `invoke launch.slurm` has written a script for two nodes."""
    place = tmp_path_factory.mktemp("slurm")
    with cluster(place / "cluster") as running:
        folder = _copy(place / "pintune", place)
        shutil.copytree(tiny_model, folder / "models" / "tiny")
        (folder / "tiny.toml").write_text(RECIPE)
        # the locked environment of the tests has all wheels of train's
        own = folder / ".pintune" / "venv" / f"train-cpu-{lock.sha256(ROOT / 'images/locks/train-cpu.txt')[:12]}"
        (own / "bin").mkdir(parents=True)
        (own / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (own / "bin" / "python").chmod(0o755)
        (own / "pintune-lock").touch()
        for name in ("fetch", "format"):
            _pipeline(folder, name, "--recipe", "tiny.toml")
        words = ("--recipe", "tiny.toml", "--flavor", "cpu", "--nodes", "2", "--cpus", "1", *OVERRIDES)
        done = invoke_in(folder)("launch.slurm", *words)
        assert done.returncode == 0, done.stderr
        yield Site(folder, running, folder / ".pintune" / "launch" / "pintune-tiny.sbatch")


@pytest.fixture(scope="module")
def undisturbed(site: Site) -> Path:
    """The run of a job that nothing disturbed."""
    number = site.submit()
    site.cluster.wait(number, "COMPLETED", "FAILED")
    assert site.cluster.state(number) == "COMPLETED", site.log(number)
    return site.runs()[-1]


def test_two_nodes_make_the_steps_of_one_process(site: Site, undisturbed: Path) -> None:
    _pipeline(site.folder, "train", "--recipe", "tiny.toml", *OVERRIDES)
    alone = site.runs()[-1]
    assert alone != undisturbed
    assert (_manifest(undisturbed)["training"]["processes"], _manifest(alone)["training"]["processes"]) == (2, 1)
    assert _losses(undisturbed) == pytest.approx(_losses(alone), rel=1e-4)
    assert len(_losses(alone)) == STEPS


def test_a_job_goes_on_to_the_same_adapter_after_its_time_limit_a_lost_node_and_a_cancel(
    site: Site, undisturbed: Path
) -> None:
    before, slurm = site.runs(), site.cluster
    first = site.submit()
    site.wait_for_checkpoint(2, first, before)
    slurm.run("scancel", "--signal=TERM", first)  # as --signal does before the time limit, to the same processes
    site.wait_for_start(2, first)
    site.wait_for_checkpoint(_last_saved(site, first) + 2, first, before)
    slurm.run("scontrol", "update", "nodename=n2", "state=down", "reason=lost")
    site.wait_for_start(3, first)  # SLURM requeues it itself, as after a preemption; the node registers again
    assert "DUE TO NODE FAILURE" in site.log(first)
    site.wait_for_checkpoint(_last_saved(site, first) + 2, first, before)
    slurm.run("scancel", first)
    slurm.wait(first, "CANCELLED")
    second = site.submit()
    slurm.wait(second, "COMPLETED", "FAILED")
    assert slurm.state(second) == "COMPLETED", site.log(second)
    assert slurm.state(first) == "CANCELLED"  # the script has not requeued it
    (run,) = set(site.runs()) - set(before)
    assert (site.log(first).count(RESUMED), site.log(second).count(RESUMED)) == (2, 1)
    assert _manifest(run)["training"]["adapter_sha256"] == _manifest(undisturbed)["training"]["adapter_sha256"]
    assert _losses(run) == _losses(undisturbed)


def _last_saved(site: Site, number: str) -> int:
    """The step that the newest start of a job has resumed from."""
    return int(site.log(number).rpartition(f"{RESUMED} ")[2].splitlines()[0].rpartition("-")[2])


def test_a_job_without_progress_within_its_time_is_not_requeued_for_ever(site: Site) -> None:
    """The run has a checkpoint, and each start is stopped before it makes another one."""
    text = site.script.read_text()
    paused = text.replace("exec ", "exit 75; exec ", 1)
    assert paused != text
    script = site.script.with_name("paused.sbatch")
    script.write_text(paused)
    number = site.cluster.run("sbatch", "--parsable", str(script))
    site.cluster.wait(number, "FAILED", "COMPLETED")
    assert site.cluster.state(number) == "FAILED"
    assert "next: raise --time" in site.log(number)
