"""What a step gets from the host: PINTUNE_* variables, mounts, and for fetch the network settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from images import engine, git, matrix, pip_config
from images.building import build, lock
from images.errors import Stop
from images.running import container, limits, step_call, user_files, venv
from images.running.choices import Choices
from images.running.container import Container, Mount
from images.running.step_call import StepCall


def variables(choices: Choices, runner: str, image: str) -> dict[str, str]:
    """The variables that tell a step where it runs and what from."""
    revision, dirty = git.revision()
    made = {
        "PINTUNE_RUNNER": runner,
        "PINTUNE_FLAVOR": choices.flavor,
        "PINTUNE_REVISION": revision,
        "PINTUNE_DIRTY": ("1" if dirty else "0") if revision else "",
    }
    if runner != "here":
        made["PINTUNE_LOCK"] = lock.sha256(matrix.lock_file(image, choices.flavor))
    if (devices := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        made |= {"CUDA_VISIBLE_DEVICES": devices, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # numbered as in nvidia-smi
    if os.environ.get("PINTUNE_DEBUG"):
        made["PINTUNE_DEBUG"] = os.environ["PINTUNE_DEBUG"]
    return made


def of_process(choices: Choices, runner: str, image: str = "train") -> dict[str, str]:
    """The variables that a step outside a container is told."""
    python = {"PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}
    return {**variables(choices, runner, image), **python}


def provenance(image: str) -> dict[str, str]:
    """The variables that say what only the engine knows: an image's ID, and its base with digest."""
    name, digest = (engine.image_label(image, f"org.opencontainers.image.base.{key}") for key in ("name", "digest"))
    base = f"{name}@{digest}" if name and digest else name
    return {"PINTUNE_IMAGE_DIGEST": engine.image_id(image) or "", "PINTUNE_BASE": base or ""}


def need_folders() -> None:
    """Raise Stop if the checkout's path is not UTF-8, or if data/, models/ or runs/ is a link to nothing."""
    if (shown := str(matrix.ROOT).encode(errors="surrogateescape").decode(errors="replace")) != str(matrix.ROOT):
        raise Stop("a path in UTF-8: neither Docker nor uv takes another", shown, "the checkout", "rename that folder")
    for folder in (matrix.ROOT / name for name in user_files.FOLDERS):
        if folder.is_symlink() and not folder.exists():
            wanted, found = f"the folder that {folder.name}/ is a link to", f"nothing at {folder.readlink()}"
            raise Stop(wanted, found, str(folder), f"mount its disk, or make the folder: mkdir -p {folder.readlink()}")


def for_container(choices: Choices, call: StepCall, scratch: Path, capture: bool, image_name: str = "") -> Container:
    """The container of a step; `scratch` holds the files with settings that are mounted into it.

    Raises:
        Stop: PINTUNE_MIRROR is not a folder, a limit is none that the engine takes, or the engine gives containers no
            GPU where the step needs one.
    """
    need_folders()
    image_name = image_name or choices.image
    step, image = call.step, build.tag(image_name, choices.flavor)
    environment = {**variables(choices, "docker", image_name), "PINTUNE_BASE": build.base_image(matrix.load())}
    limited = limits.of()
    if not choices.dry:
        container.need_cpus(limited)
    environment |= {"PINTUNE_PIDS": str(limited.pids), "PINTUNE_TMP": limited.tmp}  # named where one is reached
    if threads := limits.threads(limited, call.processes):
        environment["OMP_NUM_THREADS"] = str(threads)
    mounts = []
    for name in user_files.FOLDERS:
        folder, writable = (matrix.ROOT / name).resolve(), name in step.writes
        if not choices.dry:
            folder.mkdir(exist_ok=True)
        if not choices.dry and writable:
            container.hand_over(folder)
        mounts.append(Mount(folder, f"{user_files.WORKDIR}/{name}", writable))
    if choices.image == "dev":  # which has no code of the pipeline, as the devcontainer has the checkout's
        mounts.append(Mount(matrix.ROOT / "pipeline", f"{user_files.WORKDIR}/pipeline"))
    if not choices.dry:
        environment |= provenance(image)
    if call.interactive:  # how its terminal shows text
        environment.update({name: os.environ[name] for name in ("TERM", "NO_COLOR") if os.environ.get(name)})
    if step.network:
        mounts += _network(environment, scratch, choices.dry)
    mounts += user_files.mounts(call.user_files)
    uid, gid = container.user()
    return Container(
        image,
        tuple(step_call.argv(call)),
        tuple(mounts),
        environment,
        uid,
        gid,
        "bridge" if step.network else "none",
        terminal=sys.stdout.isatty() and not capture,
        interactive=call.interactive,
        gpu=_gpu(choices) if step.gpu and matrix.load().flavor(choices.flavor).cuda else "",
        limits=limited,
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
            engine.GPU_REMEDY,
        )
    return how


def _network(environment: dict[str, str], scratch: Path, dry: bool) -> list[Mount]:
    """Read-only mounts of pip's settings, certificates and mirror; adds variables that name them to `environment`."""
    settings = pip_config.read()
    folder = "/run/secrets"  # as in a build
    file = scratch / "pip.conf"
    if not dry:
        pip_config.private(file, pip_config.pip_conf(settings, f"{folder}/certificates"))
        container.hand_over(file.parent)
    environment["PIP_CONFIG_FILE"] = f"{folder}/pip.conf"
    mounts = [Mount(file, f"{folder}/pip.conf")]
    if settings.certificates:
        environment["SSL_CERT_FILE"] = f"{folder}/certificates"
        mounts.append(Mount(settings.certificates.resolve(), f"{folder}/certificates"))
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
    passed = (*pip_config.PROXIES, *container.HUB)
    environment.update({name: os.environ[name] for name in passed if os.environ.get(name)})
    environment["HF_HOME"] = "/tmp/huggingface"  # the root is read-only
    return mounts


def for_process(choices: Choices, runner: str, call: StepCall, image: str = "") -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a step outside a container, which has no limits.

    Raises:
        Stop: a limit that no container could have.
    """
    need_folders()
    image = image or choices.image
    limits.of()  # a wrong value is said here too, not only once there is an engine
    python = str(venv.python(image, choices.flavor)) if runner == "venv" else sys.executable
    left_out = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", *(limits.NAMES if runner == "venv" else ()))
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    environment |= of_process(choices, runner, image)
    if runner == "here":
        environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    if call.step.network and (bundle := pip_config.read().certificates):
        environment.setdefault("SSL_CERT_FILE", str(bundle))
    return step_call.argv(call, python), environment
