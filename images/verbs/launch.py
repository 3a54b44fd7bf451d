"""The verbs `launch.*`: write a job's spec for an engine that exists, and print the commands that submit it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from images import matrix
from images.cloud import azureml as aml
from images.cloud import job as jobs
from images.cloud import kubernetes as k8s
from images.cloud import skypilot as sky
from images.cloud import slurm as batch
from images.cloud.gpus import GPUS
from images.cloud.job import Job
from images.errors import StepFailed, Stop, reported
from images.running import environment, runner, venv
from images.running.choices import Choices
from images.verbs import cli

FOLDER = matrix.ROOT / ".pintune" / "launch"
_SHARED = {each: text for each, text in cli.SHARED.items() if each != "runner"} | {
    "flavor": "what it computes on there: cpu, cu128 or cu130 (default: PINTUNE_FLAVOR)",
    "image": "REGISTRY/train@sha256:… (default: the one that was released as this version)",
    "name": "the job's name (default: pintune-RECIPE)",
    "to": "the file to write (default: in .pintune/launch/)",
}
_NODES = {
    "nodes": "machines that train together (default 1)",
    "gpus_per_node": "processes on each of them, one for each GPU; without GPUs they share the cores (default 1)",
}


def _choices(c: Context, recipe: str, flavor: str, set_: list[str] | None) -> Choices:
    chosen = cli.choices(c, recipe, flavor, set_=set_)
    cli.need_named_flavor("--flavor cu130; invoke doctor on a machine there says which fits")
    return chosen


def _write(job: Job, specs: dict[Path, str], then: list[list[str]]) -> None:
    """Write the specs and print the commands that submit them; a dry call prints the specs, and writes nothing."""
    if job.choices.dry:
        for path, text in specs.items():
            print(f"# {_shown(path)}\n{text}")
    else:
        for path, text in specs.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"launch {_shown(path)}")
    for command in then:
        print(f"next:  {shlex.join(command)}", flush=True)


def _shown(path: Path) -> str:
    return str(path.relative_to(matrix.ROOT) if path.is_relative_to(matrix.ROOT) else path)


@task(
    help={
        **_SHARED,
        **_NODES,
        "container": "apptainer or enroot: train in the image (default: in the locked virtual environment)",
        "time": "limit of one start, as sbatch takes it; the job goes on after it (default 24:00:00)",
        "partition": "SLURM's partition (default: the cluster's)",
        "account": "SLURM's account (default: the caller's)",
        "cpus": "cores of each process (default 4)",
        "yes": "submit it, if data and model are there",
    },
    iterable=["set_"],
)
def slurm(
    c: Context,
    recipe: str = "",
    flavor: str = "",
    set_: list[str] | None = None,
    nodes: int = 1,
    gpus_per_node: int = 1,
    container: str = "",
    image: str = "",
    time: str = "24:00:00",
    partition: str = "",
    account: str = "",
    cpus: int = 4,
    name: str = "",
    to: str = "",
    yes: bool = False,
) -> None:
    """Write a batch script for SLURM that trains on one or more nodes, and goes on after a time limit or preemption."""
    with reported():
        choices = _choices(c, recipe, flavor, set_)
        job = jobs.make(choices, image, nodes, gpus_per_node, str(matrix.ROOT), name)
        file = Path(to).resolve() if to else FOLDER / f"{job.name}.sbatch"
        place = batch.Place(str(file.parent / f"{job.name}-%j.log"), time, partition, account, cpus, container)
        batch.need_place(place)
        if container:
            job = jobs.with_image(job)
        elif image:
            wanted, todo = "--container apptainer or enroot with --image", "leave --image out, or name the container"
            raise Stop(wanted, "--image alone: the job would run in the virtual environment", "the command line", todo)
        told = environment.of_process(choices, "venv")
        told = {key: value for key, value in told.items() if not key.startswith("CUDA_")}  # SLURM assigns GPUs
        text = batch.script(job, place, str(venv.python("train", choices.flavor)), told)
        submit = batch.submit(file)
        if choices.dry or not yes:
            _write(job, {file: text}, [_prepare(choices, not container), submit])
            return
        _need_ready(choices, not container)
        _write(job, {file: text}, [])
        _submit(submit)


def _prepare(choices: Choices, in_venv: bool) -> list[str]:
    """The command that brings data and model to the checkout, which the job's nodes share."""
    build = ["build", "--flavor", choices.flavor, "--runner", "venv"] if in_venv else []
    overrides = [word for each in choices.overrides for word in ("--set", each)]
    return ["invoke", *build, "data", "--recipe", choices.recipe, *overrides]


def _need_ready(choices: Choices, in_venv: bool) -> None:
    """Raise Stop if a node would find no data, model or environment, or if there is no SLURM here."""
    if not shutil.which("sbatch"):
        raise Stop("sbatch", "no such command", "the PATH", "call it on a machine of the cluster, or without --yes")
    if lacking := runner.missing(choices, "venv" if in_venv else cli.runner(choices)):
        todo = shlex.join(_prepare(choices, in_venv))
        raise Stop("data and model in the checkout", f"missing: {', '.join(lacking)}", "data/ and models/", todo)


def _submit(command: list[str]) -> None:
    done = subprocess.run(command, cwd=matrix.ROOT)
    if done.returncode:
        raise StepFailed(command[0], done.returncode)


@task(
    help={
        **_SHARED,
        **_NODES,
        "storage": "a volume claim that all nodes mount, with data/, models/ and runs/",
        "plain": "an indexed Job and a Service, where there is no Kubeflow Trainer",
        "cpus": "cores of each process (default 4)",
        "memory": "of each node, as Kubernetes takes it (default 32Gi)",
    },
    iterable=["set_"],
)
def kubernetes(
    c: Context,
    recipe: str = "",
    flavor: str = "",
    set_: list[str] | None = None,
    nodes: int = 1,
    gpus_per_node: int = 1,
    storage: str = "",
    plain: bool = False,
    cpus: int = 4,
    memory: str = "32Gi",
    image: str = "",
    name: str = "",
    to: str = "",
) -> None:
    """Write a TrainJob of Kubeflow Trainer, or an indexed Job, and the Job that fetches data and model before it."""
    with reported():
        needs = k8s.Needs(cpus, memory)
        job = jobs.make(_choices(c, recipe, flavor, set_), image, nodes, gpus_per_node, storage, name)
        k8s.need_names(job, needs)
        jobs.need_on_storage(job)
        job = jobs.with_image(job)
        file = Path(to).resolve() if to else FOLDER / f"{job.name}.yaml"
        first = file.with_stem(f"{file.stem}-prepare")
        spec = (k8s.indexed_job if plain else k8s.train_job)(job, needs)
        _write(job, {first: k8s.prepare(job, needs), file: spec}, k8s.submit(str(first), str(file), job))


@task(
    help={
        **_SHARED,
        "gpus_per_node": "GPUs of the machine (default 1)",
        "storage": "a bucket that keeps the runs, such as s3://BUCKET",
        "gpu": f"the GPU: {', '.join(GPUS)}",
        "infra": "cloud and region, such as azure/eastus (default: the cheapest)",
    },
    iterable=["set_"],
)
def skypilot(
    c: Context,
    recipe: str = "",
    flavor: str = "",
    set_: list[str] | None = None,
    gpus_per_node: int = 1,
    storage: str = "",
    gpu: str = "",
    infra: str = "",
    image: str = "",
    name: str = "",
    to: str = "",
) -> None:
    """Write a task for SkyPilot: a managed job on a Spot machine, which goes on when the machine is lost."""
    with reported():
        job = jobs.make(_choices(c, recipe, flavor, set_), image, 1, gpus_per_node, storage, name)
        sky.need(job, gpu, infra)
        jobs.need_on_storage(job)
        job = jobs.with_image(job)
        file = Path(to).resolve() if to else FOLDER / f"{job.name}-sky.yaml"
        _write(job, {file: sky.task(job, gpu, infra)}, sky.submit(str(file), job))


@task(
    help={
        **_SHARED,
        "gpus_per_node": "GPUs of the machine (default 1)",
        "storage": "a datastore's path that keeps the runs, such as azureml://datastores/workspaceblobstore/paths/pintune",
        "compute": "the compute cluster's name in the workspace",
        "to": "the folder to write (default: in .pintune/launch/)",
    },
    iterable=["set_"],
)
def azureml(
    c: Context,
    recipe: str = "",
    flavor: str = "",
    set_: list[str] | None = None,
    gpus_per_node: int = 1,
    storage: str = "",
    compute: str = "",
    image: str = "",
    name: str = "",
    to: str = "",
) -> None:
    """Write a command job for Azure Machine Learning, which goes on when a machine of low priority is lost."""
    with reported():
        job = jobs.make(_choices(c, recipe, flavor, set_), image, 1, gpus_per_node, storage, name)
        aml.need(job, compute)
        jobs.need_on_storage(job)
        job = jobs.with_image(job)
        folder = Path(to).resolve() if to else FOLDER / f"{job.name}-azureml"
        specs = {folder / "job.yml": aml.command_job(job, compute), folder / "code" / "train.sh": aml.script(job)}
        _write(job, specs, aml.submit(str(folder / "job.yml")))


verbs = Collection("launch", slurm, kubernetes, skypilot, azureml)
