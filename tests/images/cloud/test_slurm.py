"""Batch scripts, word for word; bash reads them."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from images import matrix
from images.cloud import slurm
from images.errors import Stop
from tests.images.cloud.golden import assert_golden, job

PLACE = slurm.Place(str(matrix.ROOT / ".pintune/launch/x-%j.log"), partition="gpu", account="project:a")
TOLD = {"PINTUNE_RUNNER": "venv", "PINTUNE_FLAVOR": "cu130"}


@pytest.mark.parametrize("container", ["", "apptainer", "enroot"])
def test_the_script(container: str) -> None:
    place = replace(PLACE, container=container)
    text = slurm.script(job(storage=str(matrix.ROOT)), place, "/venv/bin/python", TOLD)
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    assert_golden(f"{container or 'venv'}.sbatch", text)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"container": "docker"}, "a container runtime: apptainer, enroot"),
        ({"time": "1 day"}, "a time limit as sbatch takes it"),
        ({"time": "1\n#SBATCH --x"}, "a time limit"),
        ({"partition": "a b"}, "a name of SLURM"),
        ({"account": "x\n#SBATCH --uid=0"}, "a name of SLURM"),
        ({"cpus": 0}, "at least one core"),
        ({"log": 'a"b'}, "a path without quotes"),
        ({"log": "100%/x-%j.log"}, "a path without quotes and %"),
    ],
)
def test_what_sbatch_would_not_take_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(Stop, match=message):
        slurm.script(job(storage="/checkout"), replace(PLACE, **changed), "python", TOLD)  # type: ignore[arg-type]


@pytest.mark.parametrize("time", ["90", "24:00:00", "2-12", "2-12:30", "1:30"])
def test_times_as_sbatch_takes_them(time: str) -> None:
    slurm.need_place(replace(PLACE, time=time))


def test_a_mount_with_a_comma_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "ROOT", matrix.ROOT / "a,b")
    with pytest.raises(Stop, match="paths without comma and colon"):
        slurm.script(job(storage="/checkout"), replace(PLACE, container="enroot"), "python", TOLD)
