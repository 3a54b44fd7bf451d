"""Where a step runs, and running it: `here` (inside an image), `docker` (an engine answers), `venv` (neither).

What crosses over is a command line, PINTUNE_* variables and folders: data/, models/, runs/ and, to fetch, the mirror.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from images import engine, git, matrix, pip_config
from images.building import build, lock
from images.errors import Killed, StepFailed, Stop
from images.running import cluster, container, gpu, process, user_files, venv
from images.running.container import Container, Mount

RUNNERS = ("auto", "here", "docker", "venv")


@dataclass(frozen=True)
class Step:
    """What a step of the pipeline may touch."""

    writes: tuple[str, ...]
    network: bool = False
    computes: bool = False  # on the GPU of a CUDA flavor
    source: bool = False  # reads the file that data.source names, if it names one


STEPS = {
    "missing": Step(writes=(), source=True),
    "fetch": Step(writes=("data", "models"), network=True, source=True),
    "format": Step(writes=("data",)),
    "train": Step(writes=("runs",), computes=True),
    "evaluate": Step(writes=("runs",), computes=True),
    "export": Step(writes=("runs",), computes=True),
    "ask": Step(writes=(), computes=True),
    "estimate": Step(writes=()),
    "score": Step(writes=()),
    "resolve": Step(writes=(), source=True),
    "reproduce": Step(writes=("runs",), computes=True),
}


@dataclass(frozen=True)
class Choices:
    """What the verbs of one call share."""

    recipe: str
    flavor: str
    runner: str
    overrides: tuple[str, ...] = ()
    dry: bool = False


def choose(
    wanted: str,
    environment: Mapping[str, str] = os.environ,
    answers: Callable[[], bool] = engine.answers,
    dry: bool = False,
) -> tuple[str, str]:
    """The runner to take, and why in a few words. A named one is taken or refused; `auto` takes the first that fits.

    Raises:
        Stop: unknown, or `here` outside an image, or `docker` without an engine.
    """
    if wanted not in RUNNERS:
        raise Stop(f"a runner: {', '.join(RUNNERS)}", repr(wanted), "--runner or PINTUNE_RUNNER", "--runner auto")
    inside = environment.get("PINTUNE_IMAGE", "")
    if wanted == "here" and not inside:
        raise Stop(
            "to be inside a Pintune image (PINTUNE_IMAGE is set there)",
            "PINTUNE_IMAGE is not set",
            "--runner here",
            "--runner auto",
        )
    if wanted == "docker" and not dry:  # to print a command needs no engine
        engine.client()
    if wanted != "auto":
        return wanted, "asked for"
    if inside:
        return "here", f"inside the image {inside}"
    if answers():
        return "docker", "a Docker engine answers"
    return "venv", "no Docker engine answers"


def with_engine(choices: Choices) -> Choices:
    """The same choices with the runner docker, for what only an engine can do.

    Raises:
        Stop: another runner was asked for.
    """
    if choices.runner not in ("auto", "docker"):
        raise Stop(
            "the runner docker: only an engine builds images",
            f"runner {choices.runner}",
            "--runner or PINTUNE_RUNNER",
            "--runner docker",
        )
    return replace(choices, runner="docker")


def flavor(wanted: str, known: matrix.Matrix | None = None) -> tuple[str, str]:
    """The flavor to take, and why in a few words; `auto` takes the one that fits the GPU that is seen.

    Raises:
        Stop: unknown, or there is a GPU that no flavor fits.
    """
    known = known or matrix.load()
    if wanted == "auto":
        return gpu.pick(known, gpu.look())
    known.flavor(wanted)
    return wanted, "asked for"


def make(choices: Choices, runner: str, image: str = "train", carried: Path | None = None) -> str:
    """Build what a runner needs; returns the line that says what is there now.

    Raises:
        Stop: as `build.build` and `venv.build`, or inside an image: it is another than the matrix asks for.
    """
    if runner == "docker":
        return build.build(image, choices.flavor, choices.dry, carried=carried)
    if image != "train":
        raise Stop(
            f"a Docker engine for the image {image}",
            f"runner {runner}",
            "--image",
            "invoke build --runner docker, where an engine answers",
        )
    if runner == "venv":
        return venv.build("train", choices.flavor, choices.dry)
    return f"build  nothing to do: this is the image {inside(choices.flavor)} that the matrix asks for"


def inside(flavor: str) -> str:
    """Name of the image that this is.

    Raises:
        Stop: it was made in another flavor or from another lock than the checkout has now.
    """
    image, made_in, made_of = (os.environ.get(name, "") for name in ("PINTUNE_IMAGE", "PINTUNE_FLAVOR", "PINTUNE_LOCK"))
    rebuild = f"on the host: invoke build --image {image} --flavor {flavor}; a devcontainer: rebuild it"
    if made_in != flavor:
        raise Stop(f"an image of the flavor {flavor}", f"one of {made_in}", f"inside the image {image}", rebuild)
    path = matrix.lock_file(image, flavor)
    lock.read(lock.row(image, flavor))
    if made_of != lock.sha256(path):
        raise Stop(
            f"the image of this checkout's lock, {lock.sha256(path)[:12]}",
            f"one of {made_of[:12]}",
            f"inside the image {image}",
            rebuild,
        )
    return f"{image} {flavor}"


def need_environment(choices: Choices, runner: str, computes: bool = True) -> None:
    """Raise Stop unless image or environment are there and made from this checkout, and with `computes` the flavor's GPU is."""
    known = matrix.load()
    lock.read(lock.row("train", choices.flavor))
    if computes:
        gpu.need(known, known.flavor(choices.flavor), gpu.look())
    if runner == "here":
        inside(choices.flavor)
    again = "invoke build" + (f" --flavor {choices.flavor}" if choices.flavor != "cpu" else "")
    again += f" --runner {choices.runner}" if choices.runner != "auto" else ""
    if runner == "venv" and not venv.ready("train", choices.flavor):
        raise Stop("the environment of this checkout's lock", "none", str(venv.folder("train", choices.flavor)), again)
    if runner == "docker":
        name = build.tag("train", choices.flavor)
        label = engine.image_label(name, build.SOURCE_LABEL)
        if label != build.source_hash("train", choices.flavor):
            found = (
                "none of that name" if engine.image_id(name) is None else "an image made from other code, lock or base"
            )
            raise Stop(f"the image {name} of this checkout", found, "docker image ls", again)


def missing(choices: Choices, runner: str, computes: bool = False) -> tuple[str, ...]:
    """The steps that must run before the recipe can train.

    Raises:
        Stop: as `need_environment`.
    """
    if choices.dry:
        return ("fetch", "format")
    need_environment(choices, runner, computes)
    return tuple(run(choices, runner, "missing", capture=True).split())


def run(
    choices: Choices,
    runner: str,
    step: str,
    arguments: tuple[str, ...] = (),
    files: tuple[Path, ...] = (),
    capture: bool = False,
    nodes: int = 1,
) -> str:
    """Run one step; returns its standard output with `capture`, else "".

    Args:
        nodes: containers to run it in that train together.
        files: files of the host that `arguments` name; the step gets their names from where it runs, a container the files themselves.

    Raises:
        StepFailed: it ended with another status than 0, having said why.
        Stop: image or environment are not there, or several nodes without an engine.
    """
    if nodes > 1 and runner != "docker":
        raise Stop(
            f"a Docker engine for {nodes} nodes, each a container",
            f"runner {runner}",
            "--nodes",
            "--runner docker where an engine answers; or --gpus-per-node for more processes on this machine",
        )
    recipe = Path(choices.recipe)
    if choices.recipe.endswith(".toml"):
        if not recipe.is_file():
            raise Stop(
                "a recipe file", "no such file", choices.recipe, "pass --recipe with a shipped name or an existing file"
            )
        files = (*files, recipe)
    overrides = choices.overrides
    if own := user_files.data_file(choices.recipe, overrides):
        overrides = (*overrides, f"data.source={user_files.name(own)}")
        files = (*files, own) if STEPS[step].source and own.is_file() else files
    named = {str(file): user_files.name(file) for file in files}
    words = (step, "--recipe", str(recipe), *arguments)
    command = (
        *(named.get(word, word) for word in words),
        *(word for override in overrides for word in ("--set", override)),
    )
    with pip_config.secrets(keep=choices.dry) as scratch:
        if runner == "docker":
            spec = _container(choices, step, command, files, scratch, capture)
            specs = cluster.specs(spec, nodes, _processes(arguments)) if nodes > 1 else [spec]
            if choices.dry:
                for command_line in (*cluster.network_argv(specs), *map(container.argv, specs)):
                    print(engine.shown(command_line))
                return ""
            status, text = container.run(spec, capture) if nodes == 1 else (cluster.run(specs), "")
        else:
            whole, environment = _process(choices, runner, step, command, scratch)
            if choices.dry:
                print(engine.shown(whole))
                return ""
            status, text = process.run(whole, environment, capture)
    if status < 0 or status > 130:  # a signal: it could not say why itself
        again = _again(choices, step, arguments, nodes)
        raise Killed(
            f"{step} to end by itself",
            f"it was killed by signal {-status if status < 0 else status - 128} (9: often too little memory)",
            f"runner {runner}",
            f"free memory, then {again}",
        )
    if status:
        raise StepFailed(step, status)
    return text


def _again(choices: Choices, step: str, arguments: tuple[str, ...] = (), nodes: int = 1) -> str:
    """The command that goes on with a step that was killed, with the flags of this call."""
    words = ["invoke", "data" if step == "format" else step, *(["--resume"] if step == "train" else [])]
    words += ["--recipe", choices.recipe, "--flavor", choices.flavor, "--runner", choices.runner]
    words += ["--nodes", str(nodes)] if nodes > 1 else []
    words += ["--gpus-per-node", str(_processes(arguments))] if _processes(arguments) > 1 else []
    return shlex.join([*words, *(word for override in choices.overrides for word in ("--set", override))])


def _processes(arguments: tuple[str, ...]) -> int:
    return int(arguments[arguments.index("--processes") + 1]) if "--processes" in arguments else 1


def need_gpus(choices: Choices, count: int) -> None:
    """Raise Stop unless there is a GPU for each of `count` processes; on a CPU they share the cores."""
    seen = len(gpu.look().gpus)
    if not choices.dry and matrix.load().flavor(choices.flavor).cuda and seen < count:
        raise Stop(
            f"{count} GPUs, one for each process",
            f"{seen}",
            "--nodes and --gpus-per-node",
            "fewer of them, or --flavor cpu",
        )


def _facts(choices: Choices, runner: str) -> dict[str, str]:
    """The PINTUNE_* variables of a step."""
    revision, dirty = git.revision()
    known = {
        "PINTUNE_RUNNER": runner,
        "PINTUNE_FLAVOR": choices.flavor,
        "PINTUNE_REVISION": revision,
        "PINTUNE_DIRTY": "1" if dirty else "0",
    }
    if runner != "here":
        known["PINTUNE_LOCK"] = lock.sha256(matrix.lock_file("train", choices.flavor))
    if (devices := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        known |= {"CUDA_VISIBLE_DEVICES": devices, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # numbered as nvidia-smi does
    if os.environ.get("PINTUNE_DEBUG"):
        known["PINTUNE_DEBUG"] = os.environ["PINTUNE_DEBUG"]
    return known


def _container(
    choices: Choices, step: str, command: tuple[str, ...], files: tuple[Path, ...], scratch: Path, capture: bool
) -> Container:
    access, image = STEPS[step], build.tag("train", choices.flavor)
    environment = {**_facts(choices, "docker"), "PINTUNE_BASE": build.base_image(matrix.load())}
    mounts = []
    for name in user_files.FOLDERS:
        folder, writable = matrix.ROOT / name, name in access.writes
        if not choices.dry:
            folder.mkdir(exist_ok=True)
        if not choices.dry and writable:
            container.hand_over(folder)
        mounts.append(Mount(folder, f"{user_files.WORKPLACE}/{name}", writable))
    if not choices.dry:
        environment["PINTUNE_IMAGE_DIGEST"] = engine.image_id(image) or ""
    if access.network:
        mounts += _network(environment, scratch, choices.dry)
    mounts += user_files.mounts(files)
    brought = _gpu(choices) if access.computes and matrix.load().flavor(choices.flavor).cuda else ""
    uid, gid = container.user()
    terminal = sys.stdout.isatty() and not capture
    return Container(
        image,
        ("python", "-m", "pipeline", *command),
        tuple(mounts),
        environment,
        uid,
        gid,
        "bridge" if access.network else "none",
        terminal,
        gpu=brought,
    )


def _gpu(choices: Choices) -> str:
    """How the container gets the GPUs.

    Raises:
        Stop: the engine gives it none.
    """
    if choices.dry:
        return "nvidia"
    if not (how := engine.gpu_access()):
        raise Stop(
            "an engine that gives containers GPUs",
            "neither the nvidia runtime nor a CDI specification",
            "docker info",
            "install nvidia-container-toolkit, then: nvidia-ctk runtime configure --runtime=docker && systemctl restart docker",
        )
    return how


def _network(environment: dict[str, str], scratch: Path, dry: bool) -> list[Mount]:
    """What fetch gets of the host's settings: pip's, certificates and the mirror, as read-only mounts."""
    settings = pip_config.read()
    given = "/run/pintune"
    file = scratch / "pip.conf"
    pip_config.private(file, pip_config.pip_conf(settings, f"{given}/certificates"))
    if not dry:
        container.hand_over(file.parent)
    environment["PIP_CONFIG_FILE"] = f"{given}/pip.conf"
    mounts = [Mount(file, f"{given}/pip.conf")]
    if settings.certificates:
        environment["SSL_CERT_FILE"] = f"{given}/certificates"
        mounts.append(Mount(settings.certificates.resolve(), f"{given}/certificates"))
    if mirror := os.environ.get("PINTUNE_MIRROR"):
        if not Path(mirror).is_dir():
            raise Stop(
                "a folder of files to fetch from",
                "no such folder",
                f"PINTUNE_MIRROR={mirror}",
                "unset PINTUNE_MIRROR, or name a folder",
            )
        environment["PINTUNE_MIRROR"] = "/pintune/mirror"
        mounts.append(Mount(Path(mirror).resolve(), "/pintune/mirror"))
    environment.update(
        {name: os.environ[name] for name in (*pip_config.PROXIES, *container.HUB) if os.environ.get(name)}
    )
    environment["HF_HOME"] = "/tmp/huggingface"  # the root is read-only
    return mounts


def _process(
    choices: Choices, runner: str, step: str, command: tuple[str, ...], scratch: Path
) -> tuple[list[str], dict[str, str]]:
    """The command and environment of a step outside a container."""
    python = str(venv.python("train", choices.flavor)) if runner == "venv" else sys.executable
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }
    environment |= {**_facts(choices, runner), "PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}
    if runner == "here":
        environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    if STEPS[step].network and (bundle := pip_config.read().certificates):
        environment.setdefault("SSL_CERT_FILE", str(bundle))
    return [python, "-m", "pipeline", *command], environment
