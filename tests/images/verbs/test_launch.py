"""The verbs launch.*: what they write, print and refuse."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.marks import Invoke

IMAGE = "r.example/p/train@sha256:" + "a" * 64
CPU = ("--flavor", "cpu")


def test_a_script_is_written_and_its_commands_are_printed(call: Invoke, bare: Path) -> None:
    done = call("launch.slurm", *CPU, "--set", "lora.r=8", "--time", "90")
    assert done.returncode == 0, done.stderr
    file = bare / ".pintune/launch/pintune-quickstart.sbatch"
    assert "#SBATCH --time=90\n" in file.read_text()
    assert done.stdout.splitlines() == [
        "launch .pintune/launch/pintune-quickstart.sbatch",
        "next:  invoke build --flavor cpu --runner venv data --recipe quickstart --set lora.r=8",
        f"next:  sbatch {file}",
    ]


def test_a_job_gets_no_gpu_of_this_machine(call: Invoke, bare: Path) -> None:
    assert call("launch.slurm", *CPU, CUDA_VISIBLE_DEVICES="3").returncode == 0
    assert "CUDA" not in (bare / ".pintune/launch/pintune-quickstart.sbatch").read_text()


def test_a_flavor_of_an_earlier_verb_or_the_environment_holds(call: Invoke) -> None:
    assert "PINTUNE_FLAVOR=cpu" in call("--dry", "launch.slurm", PINTUNE_FLAVOR="cpu").stdout
    assert "PINTUNE_FLAVOR=cu128" in call("--dry", "build", "--flavor", "cu128", "launch.slurm").stdout


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("launch.slurm",), ("wanted: the flavor that fits the GPUs that the job will run on", "--flavor cu130")),
        (("launch.slurm", *CPU, "--image", IMAGE), ("--image alone",)),
        (("launch.slurm", *CPU, "--container", "podman"), ("a container runtime: apptainer, enroot",)),
        (("launch.slurm", *CPU, "--container", "enroot"), ("wanted: a digest of train:cpu-", "none recorded")),
        (("launch.slurm", *CPU, "--nodes", "0"), ("--nodes and --gpus-per-node of at least 1",)),
        (("launch.slurm", *CPU, "--recipe", "no.toml"), ("wanted: a recipe file", "no such file")),
        (("launch.slurm", *CPU, "--yes"), ("wanted: sbatch", "next: call it on a machine of the cluster")),
        (("launch.kubernetes", *CPU, "--image", IMAGE), ("the name of a volume claim", "--storage CLAIM")),
        (("launch.skypilot", *CPU, "--image", IMAGE), ("a bucket such as s3://BUCKET",)),
        (("launch.azureml", *CPU, "--image", IMAGE), ("a bucket such as azureml://datastores/",)),
        (
            ("launch.skypilot", "--flavor", "cu130", "--image", IMAGE, "--storage", "s3://bucket", "--gpu", "A1000"),
            ("wanted: a GPU: V100", "found: 'A1000'"),
        ),
    ],
)
def test_what_cannot_run_is_refused_and_nothing_is_written(
    call: Invoke, bare: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    path = ":".join(each for each in os.environ["PATH"].split(":") if not (Path(each) / "sbatch").exists())
    done = call(*words, PATH=path)
    assert done.returncode == 1, done.stdout
    assert [part for part in ("wanted:", "found:", "where:", "next:", *parts) if part not in done.stderr] == []
    assert not (bare / ".pintune/launch").exists()


def test_nothing_is_submitted_before_data_and_model_are_there(call: Invoke, bare: Path, tmp_path: Path) -> None:
    """A stand-in of sbatch, which must not be called."""
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "sbatch"
    fake.write_text(f"#!/bin/sh\ntouch {tmp_path}/called\n")
    fake.chmod(0o755)
    done = call("launch.slurm", *CPU, "--yes", PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "wanted: the environment of this checkout's lock" in done.stderr
    assert not (tmp_path / "called").exists()


def test_the_other_engines_write_their_specs(call: Invoke, bare: Path) -> None:
    image = (*CPU, "--image", IMAGE)
    done = call("launch.kubernetes", *image, "--storage", "claim", "--nodes", "2", "--name", "mine")
    assert done.returncode == 0, done.stderr
    folder = bare / ".pintune/launch"
    assert {each.name for each in folder.iterdir()} == {"mine.yaml", "mine-prepare.yaml"}
    assert f"next:  kubectl apply -f {folder}/mine.yaml\n" in done.stdout
    done = call("launch.azureml", *image, "--compute", "gpu", "--storage", "azureml://datastores/s/paths/p")
    assert done.returncode == 0, done.stderr
    assert (folder / "pintune-quickstart-azureml/code/train.sh").is_file()
    done = call("launch.skypilot", *image, "--storage", "s3://bucket", "--to", str(bare / "own.yaml"))
    assert done.returncode == 0, done.stderr
    assert "image_id: docker:r.example/p/train@sha256:" in (bare / "own.yaml").read_text()
