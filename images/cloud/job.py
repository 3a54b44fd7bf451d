"""One description of a training, which every engine turns into a spec of its own.

An engine runs the same steps as `invoke fetch data train`: `python -m pipeline STEP`, with the working folder's data/,
models/ and runs/ on its storage. A training that is stopped saves and ends with status 75; each engine starts the same
command again, and `--resume-or-start` resumes the run.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from images import matrix
from images.building import registry
from images.cloud.gpus import GPUS
from images.errors import Stop
from images.running import flavor as flavors
from images.running import step_call, user_files
from images.running.choices import Choices
from images.running.gpu import Gpu, Seen

DIGEST = re.compile(r"[^\s@]+@(sha256:[0-9a-f]{64})")
GRACE = 120  # seconds from SIGTERM to the end: a training finishes its step and saves
RESTARTS = 20  # of a job whose nodes fail, before it counts as broken
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?")  # a label of DNS, with room for what engines append
_TRAIN = {"--resume-or-start": True}


@dataclass(frozen=True)
class Job:
    """A training on an engine."""

    name: str  # of the job there
    choices: Choices  # recipe, flavor and overrides
    image: str  # REGISTRY/train@sha256:…, or "" for the locked virtual environment
    revision: str  # the commit that the image was made from, "" if it is not recorded
    nodes: int
    processes: int  # on each node, one for each GPU
    storage: str  # a folder, volume or bucket with data/, models/ and runs/, as the engine names it

    @property
    def gpus(self) -> int:
        """GPUs of each node."""
        return self.processes if matrix.load().flavor(self.choices.flavor).cuda else 0

    @property
    def digest(self) -> str:
        """The image's digest."""
        return self.image.partition("@")[2]

    @property
    def runs(self) -> str:
        """The folder of the recipe's runs."""
        return f"runs/{PurePosixPath(self.choices.recipe).stem}"


def make(
    choices: Choices, image: str = "", nodes: int = 1, processes: int = 1, storage: str = "", name: str = ""
) -> Job:
    """The job of a recipe.

    Raises:
        Stop: a number below 1, a name that no engine takes, an image that is not named by its digest.
    """
    if min(nodes, processes) < 1:
        wanted = "--nodes and --gpus-per-node of at least 1"
        raise Stop(wanted, f"{nodes} and {processes}", "the command line", "leave them out for one of each")
    name = name or "pintune-" + re.sub(r"[^a-z0-9]+", "-", Path(choices.recipe).stem.lower()).strip("-")[:40].strip("-")
    if not _NAME.fullmatch(name):
        wanted = "a name of at most 50 letters, digits and dashes, the first a letter"
        raise Stop(wanted, repr(name), "--name", "--name pintune-mine")
    if image and not DIGEST.fullmatch(image):
        todo = "docker buildx imagetools inspect IMAGE prints the digest of a tag"
        raise Stop("an image by digest, such as ghcr.io/OWNER/pintune/train@sha256:…", image, "--image", todo)
    return Job(name, choices, image, "", nodes, processes, storage)


def with_image(made: Job) -> Job:
    """The job in the image it names, else in the one that was released as this version.

    Raises:
        Stop: none is recorded.
    """
    if made.image:
        return made
    reference, revision = registry.reference("train", made.choices.flavor)
    return Job(**{**vars(made), "image": reference, "revision": revision})


def need_on_storage(job: Job) -> None:
    """Raise Stop if the job reads a file of the caller's that is not under data/, and so not on its storage."""
    read = list(step_call.make(job.choices, "fetch").inputs)
    if data := user_files.data_file(job.choices.recipe, job.choices.overrides):
        read.append(data)  # which may be a folder, or not be here
    for file in read:
        if PurePosixPath(file.name).parts[0] != "data":
            wanted = "files that the job reads from its storage: those under data/"
            todo = f"move it to data/, copy data/ to the storage, and name it data/{PurePosixPath(file.name).name}"
            raise Stop(wanted, file.name, "--recipe or data.source", todo)


def need_gpu(job: Job, gpu: str) -> None:
    """Raise Stop unless the GPU is a known one that the job's flavor runs on."""
    if gpu not in GPUS:
        raise Stop(f"a GPU: {', '.join(GPUS)}", repr(gpu), "--gpu", "--gpu A100")
    known = matrix.load()
    if why := flavors.misfit(known.flavor(job.choices.flavor), Seen("99999", (Gpu(gpu, GPUS[gpu], 0),))):
        fitting = [
            each.name
            for each in known.flavors.values()
            if each.cuda and not flavors.misfit(each, Seen("99999", (Gpu(gpu, GPUS[gpu], 0),)))
        ]
        raise Stop(f"a flavor that runs on {gpu}", why, "--flavor and --gpu", f"--flavor {fitting[-1]}")


def environment(job: Job) -> dict[str, str]:
    """What a step in the image is told besides the image's own variables, for the run's manifest."""
    made = {"PINTUNE_IMAGE_DIGEST": job.digest, "PINTUNE_RUNNER": "docker"}  # which repeats such a run
    return made | ({"PINTUNE_REVISION": job.revision, "PINTUNE_DIRTY": "0"} if job.revision else {})


def need_flavor(job: Job) -> str:
    """A line of shell that ends with status 2 unless it runs in an image of the job's flavor: one for a CPU would leave
    paid GPUs idle."""
    told = f"wanted: an image of the flavor {job.choices.flavor}; found: ${{PINTUNE_FLAVOR:-none}}"
    return f'[ "${{PINTUNE_FLAVOR:-}}" = {job.choices.flavor} ] || {{ echo "{told}" >&2; exit 2; }}'


def step(job: Job, name: str, python: str = "python") -> list[str]:
    """The command of a step that one process runs."""
    return step_call.argv(step_call.make(job.choices, name), python)


def train(job: Job, node: str = "", master: str = "", python: str = "python") -> list[str]:
    """The command of one node's training.

    Args:
        node: the node's number, from 0, if there are several.
        master: HOST:PORT at which node 0 listens.
    """
    call = step_call.make(job.choices, "train", _TRAIN, nodes=job.nodes, processes=job.processes)
    nodes = ["--nodes", str(job.nodes), "--node", node, "--master", master] if job.nodes > 1 else []
    return [*step_call.argv(call, python), *nodes]


def files(job: Job) -> list[str]:
    """The caller's files that the job reads, as its steps name them."""
    return [file.name for file in step_call.make(job.choices, "fetch").inputs]


def shell(words: list[str]) -> str:
    """A command for a shell, in which a word such as "$NODE" in double quotes stays a variable."""
    return " ".join(word if re.fullmatch(r'"(\$\w+:?)+"', word) else shlex.quote(word) for word in words)


FOLDERS = user_files.FOLDERS
WORKDIR = str(user_files.WORKDIR)
