"""A step in a container: as a non-root user, without capabilities, with a read-only root, and without network but for fetch."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.errors

from images import engine
from images.errors import Stop
from images.pip_config import PROXIES

OTHER_UID = 1000  # of the container's user where the caller is root, which no step runs as
HUB = ("HF_TOKEN", "HF_ENDPOINT")  # what fetch is told of the Hugging Face hub
CDI_ALL = "nvidia.com/gpu=all"
PAUSED = 75  # a training that was told to stop, and has saved (pipeline/__main__.py)
PATIENCE = 60  # seconds that it has for that: it ends the step it is in
_SHARED_MEMORY = 2**30  # bytes of /dev/shm: NCCL on several GPUs ends where it has the engine's 64 MiB


@dataclass(frozen=True)
class Mount:
    """A folder or file of the host in the container."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Container:
    """All that a run says."""

    image: str
    command: tuple[str, ...]
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]
    uid: int
    gid: int
    network: str = "none"  # the engine's name of it
    terminal: bool = False
    name: str = ""  # by which others on its network find it
    gpus: tuple[str, ...] = ()  # which of them, by the driver's numbers; none named: all
    gpu: str = ""  # how GPUs come in: "nvidia" (the runtime's hook), "cdi" (Container Device Interface), "" for none


def user() -> tuple[int, int]:
    """The uid and gid that a container runs as: the caller's, or OTHER_UID where that is root's."""
    return (os.getuid(), os.getgid()) if os.getuid() else (OTHER_UID, OTHER_UID)


def argv(spec: Container) -> list[str]:
    """The `docker run` command that does the same as `run`."""
    command = [
        "docker",
        "run",
        "--rm",
        "--user",
        f"{spec.uid}:{spec.gid}",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--read-only",
        "--init",
        "--tmpfs",
        "/tmp:exec,mode=1777",
        "--network",
        spec.network,
    ]
    some = f'"device={",".join(spec.gpus)}"' if spec.gpus else "all"
    command += ["--shm-size", str(_SHARED_MEMORY)] if spec.gpu else []
    command += {
        "nvidia": ["--gpus", some],
        "cdi": [word for each in _cdi(spec) for word in ("--device", each)],
        "": [],
    }[spec.gpu]
    if spec.terminal:
        command.append("--tty")
    if spec.name:
        command += ["--name", spec.name]
    for mount in spec.mounts:
        command += [
            "--mount",
            f"type=bind,source={mount.source},target={mount.target}" + ("" if mount.writable else ",readonly"),
        ]
    for name, value in spec.environment.items():
        # a proxy's address may hold a password, a token is one: by name, docker takes it from the environment
        command += ["--env", name if name in (*PROXIES, *HUB) else f"{name}={value}"]
    return [*command, spec.image, *spec.command]


def _cdi(spec: Container) -> list[str]:
    return [f"nvidia.com/gpu={each}" for each in spec.gpus] or [CDI_ALL]


def settings(spec: Container) -> dict[str, Any]:
    """The same for the SDK's `containers.create`."""
    return {
        "image": spec.image,
        "command": list(spec.command),
        "user": f"{spec.uid}:{spec.gid}",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "init": True,  # the first process of a container ignores SIGTERM; init passes it on
        "tmpfs": {"/tmp": "exec,mode=1777"},
        "network_mode": spec.network,
        "device_requests": {
            "nvidia": [
                docker.types.DeviceRequest(
                    **({"device_ids": list(spec.gpus)} if spec.gpus else {"count": -1}), capabilities=[["gpu"]]
                )
            ],
            "cdi": [docker.types.DeviceRequest(driver="cdi", device_ids=_cdi(spec))],
            "": [],
        }[spec.gpu],
        **({"shm_size": _SHARED_MEMORY} if spec.gpu else {}),
        "tty": spec.terminal,
        **({"name": spec.name} if spec.name else {}),
        "mounts": [
            docker.types.Mount(each.target, str(each.source), type="bind", read_only=not each.writable)
            for each in spec.mounts
        ],
        "environment": dict(spec.environment),
    }


def run(spec: Container, capture: bool = False) -> tuple[int, str]:
    """Run to the end, its output passed through or, with `capture`, its standard output returned; the container is removed.

    Raises:
        Stop: the engine could not start it.
    """
    try:
        container = engine.client().containers.create(**settings(spec))
    except docker.errors.ImageNotFound:
        raise Stop(
            f"the image {spec.image}", "none of that name in the engine", "docker image ls", "invoke build"
        ) from None
    except docker.errors.APIError as error:
        raise Stop("a container", str(error.explanation or error), spec.image, "invoke doctor") from None
    kept: list[bytes] = []
    try:
        # without a terminal the engine keeps standard output and error apart
        with contextlib.closing(container.attach(stream=True, logs=True, demux=True)) as stream:
            container.start()
            if spec.terminal:
                size = shutil.get_terminal_size()
                with contextlib.suppress(docker.errors.APIError):  # it may have ended by now
                    container.resize(height=size.lines, width=size.columns)  # a terminal of no width shows no bars
            for out, err in stream:
                if out and capture:
                    kept.append(out)
                elif out:
                    _pass(out, sys.stdout)
                if err:
                    _pass(err, sys.stderr)
        status = int(container.wait()["StatusCode"])
    except KeyboardInterrupt:
        status = stopped(container)
        if status != PAUSED:
            raise
    except docker.errors.APIError as error:
        raise Stop("a container that starts", str(error.explanation or error), spec.image, "invoke doctor") from None
    finally:
        container.remove(force=True)
    return status, b"".join(kept).decode()


def stopped(container: Any) -> int:
    """Stop a container that runs, show what it still says, and return its exit status."""
    since = time.time()
    container.stop(timeout=PATIENCE)
    _pass(container.logs(since=since), sys.stderr)
    return int(container.wait()["StatusCode"])


def _pass(data: bytes, to: Any) -> None:
    to.flush()
    to.buffer.write(data)  # bytes: a part may end within a character
    to.buffer.flush()


def hand_over(folder: Path) -> None:
    """Make a folder and, where the caller is root, give it with all in it to the container's user: root may not run there."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid():
        return
    for place in (folder, *folder.rglob("*")):
        if place.lstat().st_uid != OTHER_UID:
            os.lchown(place, OTHER_UID, OTHER_UID)
