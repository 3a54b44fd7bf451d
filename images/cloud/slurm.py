"""A job as a batch script of SLURM, in the locked virtual environment or in an image (Apptainer, Enroot).

The job's nodes share the checkout. SLURM sends SIGTERM before the time limit (--signal), and when it preempts or
cancels a job; the training saves and ends with status 75. Before the limit the script requeues itself; after a
preemption or a lost node SLURM does it (--requeue). A cancelled job stays cancelled.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from images import matrix
from images.cloud import job as jobs
from images.cloud.job import Job
from images.errors import Stop
from images.running import steps

CONTAINERS = ("apptainer", "enroot")
_TIME = r"\d+|\d+:\d\d(:\d\d)?|\d+-\d+(:\d\d){0,2}"  # sbatch(1), --time
_SAFE = r"[\w.,:=@/-]+"  # a name of SLURM, which becomes a part of the script


@dataclass(frozen=True)
class Place:
    """Where on the cluster a job runs."""

    log: str  # the file of its output; %j is the job's number
    time: str = "24:00:00"  # limit of one start; the job goes on after it
    partition: str = ""
    account: str = ""
    cpus: int = 4  # cores of each process
    container: str = ""  # one of CONTAINERS, "" for the virtual environment


def need_place(place: Place) -> None:
    """Raise Stop if sbatch would not take it, or if a name would add to the script."""
    if place.container not in ("", *CONTAINERS):
        todo = "--container apptainer, or leave it out for the locked virtual environment"
        raise Stop(f"a container runtime: {', '.join(CONTAINERS)}", repr(place.container), "--container", todo)
    if not re.fullmatch(_TIME, place.time):
        raise Stop("a time limit as sbatch takes it", repr(place.time), "--time", "--time 24:00:00")
    for flag, value in (("--partition", place.partition), ("--account", place.account)):
        if value and not re.fullmatch(_SAFE, value):
            raise Stop("a name of SLURM", repr(value), flag, "sinfo lists partitions, sacctmgr show assoc accounts")
    if place.cpus < 1:
        raise Stop("at least one core for each process", str(place.cpus), "--cpus", "--cpus 4")


def script(job: Job, place: Place, python: str, variables: Mapping[str, str]) -> str:
    """The batch script.

    Args:
        python: the interpreter of the virtual environment; not used with a container.
        variables: what the environment's steps are told; not used with a container.

    Raises:
        Stop: as `need_place`, or a path with a quote in it.
    """
    need_place(place)
    if wrong := [path for path in (job.storage, place.log.replace("%j", "")) if re.search(r"[\"'\\%\n]", path)]:
        raise Stop("a path without quotes and %, which sbatch reads", wrong[0], "the checkout", "rename that folder")
    command = jobs.train(job, '"$SLURM_NODEID"', '"$0"', "python" if place.container else python)
    quoted = jobs.shell([*_within(job, place), *command]).replace("'", "'\\''")
    made = textwrap.dedent(_SCRIPT).lstrip()
    return made.format(
        name=job.name,
        options="\n".join(f"#SBATCH {option}" for option in _options(job, place)),
        setup="\n".join(_setup(job, place, variables)),
        runs=jobs.shell([job.runs]),
        srun=" ".join(["srun", "--kill-on-bad-exit=0", _cores(job, place), *_in_container(job, place)]),
        command=quoted,
        paused=steps.exit_status().paused,
        limit=place.time,
    )


_SCRIPT = """
    #!/bin/bash
    # {name}: made by invoke launch.slurm. Flags of sbatch on the command line win over these.
    {options}

    {setup}

    checkpoints() {{ find {runs} -path '*/checkpoints/checkpoint-*' -prune 2>/dev/null | sort; }}
    before=$(checkpoints)
    trap : TERM # the training's processes get it too, and are waited for while they save
    # $0 is where node 0, which runs this script, listens
    {srun} bash -c 'exec {command}' "$(hostname):$((20000 + SLURM_JOB_ID % 10000))"
    status=$?

    # status {paused}: stopped, and saved. RUNNING: by the time limit; SLURM itself has not ended or requeued the job.
    if [ "$status" = {paused} ] && [ "$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %T)" = RUNNING ]; then
        if [ "$(checkpoints)" = "$before" ]; then
            echo "wanted: a checkpoint within --time={limit}; found: none since this start; next: raise --time" >&2
            exit 1
        fi
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$status"
"""


def _options(job: Job, place: Place) -> list[str]:
    return [
        f"--job-name={job.name}",
        f"--nodes={job.nodes}",
        "--ntasks-per-node=1",
        *([f"--gpus-per-node={job.gpus}"] if job.gpus else []),
        _cores(job, place),
        f"--time={place.time}",
        *([f"--partition={place.partition}"] if place.partition else []),
        *([f"--account={place.account}"] if place.account else []),
        f"--signal=TERM@{jobs.GRACE}",
        "--requeue",
        "--open-mode=append",
        f'--chdir="{job.storage}"',
        f'--output="{place.log}"',
    ]


def _cores(job: Job, place: Place) -> str:
    return f"--cpus-per-task={place.cpus * job.processes}"  # srun does not take it over from sbatch since SLURM 22.05


def _setup(job: Job, place: Place, variables: Mapping[str, str]) -> list[str]:
    told = {**(jobs.environment(job) if place.container else variables), "OMP_NUM_THREADS": str(place.cpus)}
    lines = [*(f"export {name}={shlex.quote(value)}" for name, value in sorted(told.items()))]
    if not place.container:
        lines = ["unset PYTHONPATH PYTHONHOME VIRTUAL_ENV", *lines]
    if place.container == "apptainer":
        lines += [
            "mkdir -p .pintune/launch",
            f"export image=.pintune/launch/train-{job.digest[7:19]}.sif",
            f'[ -e "$image" ] || {{ apptainer pull "$image.$SLURM_JOB_ID" docker://{job.image} &&',
            '    mv "$image.$SLURM_JOB_ID" "$image"; } || exit 1',
        ]
    return lines


def _mounts(job: Job) -> list[str]:
    """SOURCE:TARGET of the folders, and of the caller's files outside of them."""
    folders = [f"{matrix.ROOT / each}:{jobs.WORKDIR}/{each}{'' if each == 'runs' else ':ro'}" for each in jobs.FOLDERS]
    others = [each for each in jobs.files(job) if Path(each).parts[0] not in jobs.FOLDERS]
    mounts = [*folders, *(f"{matrix.ROOT / each}:{Path(jobs.WORKDIR) / each}:ro" for each in others)]
    if wrong := [each for each in mounts if "," in each or each.count(":") > 2]:
        todo = "rename that file or folder"
        raise Stop("paths without comma and colon, which a container runtime takes", wrong[0], "the mounts", todo)
    return mounts


def _in_container(job: Job, place: Place) -> list[str]:
    """Flags of srun for the plug-in pyxis, which runs Enroot. Its image names have `#` after the registry."""
    if place.container != "enroot":
        return []
    registry, _, rest = job.image.replace("@sha256:", ":sha256:").partition("/")
    mounts = shlex.quote(",".join(_mounts(job)))
    return [
        f"--container-image={registry}#{rest}",
        f"--container-mounts={mounts}",
        f"--container-workdir={jobs.WORKDIR}",
        "--no-container-mount-home",
    ]


def _within(job: Job, place: Place) -> list[str]:
    """What a node starts the command with: Apptainer, and in a container a check of the image's flavor."""
    if not place.container:
        return []
    check = ["sh", "-c", f'{jobs.need_flavor(job)}; exec "$@"', "pintune"]
    if place.container == "enroot":
        return check
    variables = {**jobs.environment(job), "OMP_NUM_THREADS": str(place.cpus)}
    told = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    binds = [word for each in _mounts(job) for word in ("--bind", each)]
    # keeps no variable of the host but those named here
    flags = ["--cleanenv", "--no-home", *(["--nv"] if job.gpus else []), "--pwd", jobs.WORKDIR]
    return ["apptainer", "exec", *flags, *binds, *told, '"$image"', *check]


def submit(path: Path) -> list[str]:
    """The command that submits a script."""
    return ["sbatch", str(path)]
