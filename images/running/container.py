"""A step in a container: a non-root user, no capabilities, a read-only root, and no network unless the step has one."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import docker.errors

from images import engine
from images.errors import Killed, Stop, line
from images.pip_config import PROXIES
from images.running import steps
from images.running.limits import Limits

OTHER_UID = 1000  # the container's user where the caller is root: no step runs as root
HUB = ("HF_TOKEN", "HF_ENDPOINT")  # passed to steps with a network, for the Hugging Face hub
KEYS = ("PINTUNE_API_KEY", "VLLM_API_KEY", "JUPYTER_TOKEN")  # that requests to a service must have
LABEL = "dev.pintune.step"  # of every step's container
_REMOVED_AFTER = 60  # seconds after its end: a verb that lives removes its container at once
STOP_TIMEOUT = 60  # seconds from SIGTERM to SIGKILL: a training finishes its step and saves
_SHARED_MEMORY = 2**30  # bytes of /dev/shm: NCCL fails on several GPUs with the engine's default of 64 MiB


class OutOfMemory(Killed):
    """The kernel ended a container, or a process in it, since memory ran out."""


@dataclass(frozen=True)
class Mount:
    """A bind mount of a folder or file of the host."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Container:
    """All settings of a container."""

    image: str
    command: tuple[str, ...]
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str]
    uid: int
    gid: int
    network: str = "none"  # the engine's name of it
    terminal: bool = False
    interactive: bool = False  # reads standard input
    name: str = ""  # by which others on its network reach it
    gpus: tuple[str, ...] = ()  # by the driver's numbers; all of them if empty
    gpu: str = ""  # how GPUs are passed: "nvidia" (the runtime's hook), "cdi" (Container Device Interface), "" for none
    limits: Limits = field(default_factory=Limits)
    labels: tuple[tuple[str, str], ...] = ((LABEL, ""),)
    publish: tuple[str, int, int] | None = None  # address and port of this machine, and the container's port
    detach: bool = False  # runs on by itself, and stays until it is removed


def user() -> tuple[int, int]:
    """The uid and gid that a container runs as: the caller's, or OTHER_UID where the caller is root."""
    return (os.getuid(), os.getgid()) if os.getuid() else (OTHER_UID, OTHER_UID)


def _facts(container: Container) -> list[tuple[str, Any]]:
    """Everything that a run sets, in the order of its command line: the one source of `argv` and `settings`."""
    return [
        *(("label", label) for label in container.labels),
        ("user", f"{container.uid}:{container.gid}"),
        ("cap_drop", "ALL"),
        ("security_opt", "no-new-privileges"),
        ("read_only", True),
        ("init", True),  # the first process of a container ignores SIGTERM unless it handles it; init passes it on
        ("tmpfs", ("/tmp", f"exec,mode=1777,size={container.limits.tmp}")),
        ("pids", container.limits.pids),
        *([("memory", container.limits.memory)] if container.limits.memory else []),
        *([("cpus", container.limits.cpus)] if container.limits.cpus else []),
        ("network", container.network),
        *([("shm_size", _SHARED_MEMORY)] if container.gpu else []),
        *([(container.gpu, container.gpus)] if container.gpu else []),
        *([("interactive", True)] if container.interactive else []),
        *([("tty", True)] if container.terminal else []),
        *([("name", container.name)] if container.name else []),
        *([("publish", container.publish)] if container.publish else []),
        *(("mount", mount) for mount in container.mounts),
        *(("env", variable) for variable in container.environment.items()),
    ]


def _cdi(gpus: tuple[str, ...]) -> list[str]:
    return [f"nvidia.com/gpu={each}" for each in gpus] or ["nvidia.com/gpu=all"]


def _mount_words(mount: Mount) -> list[str]:
    fields = ["type=bind", f"source={mount.source}", f"target={mount.target}"]
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(fields + ([] if mount.writable else ["readonly"]))
    return ["--mount", line.getvalue()[:-1]]  # docker reads CSV: a path may have a comma or a quote


def _env_words(variable: tuple[str, str]) -> list[str]:
    # a proxy's address may contain a password: with the name alone, docker takes the value from its environment
    name, value = variable
    return ["--env", name if name in (*PROXIES, *HUB, *KEYS) else f"{name}={value}"]


def _publish_words(publish: tuple[str, int, int]) -> list[str]:
    host, port, inside = publish
    return ["--publish", f"{f'[{host}]' if ':' in host else host}:{port}:{inside}"]


_WORDS: Mapping[str, Callable[[Any], list[str]]] = {
    "label": lambda label: ["--label", f"{label[0]}={label[1]}" if label[1] else label[0]],
    "user": lambda value: ["--user", value],
    "cap_drop": lambda value: ["--cap-drop", value],
    "security_opt": lambda value: ["--security-opt", value],
    "read_only": lambda value: ["--read-only"],
    "init": lambda value: ["--init"],
    "tmpfs": lambda value: ["--tmpfs", ":".join(value)],
    "pids": lambda value: ["--pids-limit", str(value)],
    "memory": lambda value: ["--memory", value, "--memory-swap", value],
    "cpus": lambda value: ["--cpus", f"{value:g}"],
    "network": lambda value: ["--network", value],
    "shm_size": lambda value: ["--shm-size", str(value)],
    "nvidia": lambda gpus: ["--gpus", f'"device={",".join(gpus)}"' if gpus else "all"],
    "cdi": lambda gpus: [word for each in _cdi(gpus) for word in ("--device", each)],
    "interactive": lambda value: ["--interactive"],
    "tty": lambda value: ["--tty"],
    "name": lambda value: ["--name", value],
    "publish": _publish_words,
    "mount": _mount_words,
    "env": _env_words,
}  # a fact as words of `docker run`


def _gpu_request(gpus: tuple[str, ...]) -> docker.types.DeviceRequest:
    which = {"device_ids": list(gpus)} if gpus else {"count": -1}
    return docker.types.DeviceRequest(**which, capabilities=[["gpu"]])


def _bind(mount: Mount) -> docker.types.Mount:
    return docker.types.Mount(mount.target, str(mount.source), type="bind", read_only=not mount.writable)


_SETTINGS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "label": lambda label: {"labels": dict([label])},
    "user": lambda value: {"user": value},
    "cap_drop": lambda value: {"cap_drop": [value]},
    "security_opt": lambda value: {"security_opt": [value]},
    "read_only": lambda value: {"read_only": value},
    "init": lambda value: {"init": value},
    "tmpfs": lambda value: {"tmpfs": dict([value])},
    "pids": lambda value: {"pids_limit": value},
    "memory": lambda value: {"mem_limit": value, "memswap_limit": value},
    "cpus": lambda value: {"nano_cpus": int(value * 10**9)},
    "network": lambda value: {"network_mode": value},
    "shm_size": lambda value: {"shm_size": value},
    "nvidia": lambda gpus: {"device_requests": [_gpu_request(gpus)]},
    "cdi": lambda gpus: {"device_requests": [docker.types.DeviceRequest(driver="cdi", device_ids=_cdi(gpus))]},
    "interactive": lambda value: {"stdin_open": value},
    "tty": lambda value: {"tty": value},
    "name": lambda value: {"name": value},
    "publish": lambda publish: {"ports": {f"{publish[2]}/tcp": publish[:2]}},
    "mount": lambda mount: {"mounts": [_bind(mount)]},
    "env": lambda variable: {"environment": dict([variable])},
}  # a fact as arguments of the SDK's `containers.create`


def argv(container: Container) -> list[str]:
    """The `docker run` command that does the same as `run`."""
    options = [word for fact, value in _facts(container) for word in _WORDS[fact](value)]
    return ["docker", "run", "--detach" if container.detach else "--rm", *options, container.image, *container.command]


def settings(container: Container) -> dict[str, Any]:
    """The arguments of the SDK's `containers.create`."""
    made: dict[str, Any] = {"image": container.image, "command": list(container.command)}
    for fact, value in _facts(container):
        for key, part in _SETTINGS[fact](value).items():
            if isinstance(part, list):
                made[key] = [*made.get(key, []), *part]
            else:
                made[key] = {**made.get(key, {}), **part} if isinstance(part, dict) else part
    return made


def run(container: Container, capture: bool = False) -> tuple[int, str]:
    """Run a container to its end and remove it; returns its exit status, and with `capture` its standard output.

    Without `capture` its output is passed through.

    Raises:
        Stop: the engine cannot start it.
        OutOfMemory: the kernel ended it, or a process in it.
    """
    try:
        _remove_ended()
        running = engine.client().containers.create(**settings(container))
    except docker.errors.ImageNotFound:
        raise Stop(f"the image {container.image}", "no such image", "docker image ls", "invoke build") from None
    except docker.errors.APIError as error:
        raise Stop("a container", line(error), container.image, "invoke doctor") from None
    captured: list[bytes] = []
    try:
        # without a terminal the engine keeps standard output and standard error apart
        with contextlib.closing(running.attach(stream=True, logs=True, demux=True)) as stream:
            running.start()
            if container.terminal:
                size = shutil.get_terminal_size()
                with contextlib.suppress(docker.errors.APIError):  # it may have ended already
                    running.resize(height=size.lines, width=size.columns)  # progress bars need a width
            for out, err in stream:
                if out and capture:
                    captured.append(out)
                elif out:
                    _write(out, sys.stdout)
                if err:
                    _write(err, sys.stderr)
        status = int(running.wait()["StatusCode"])
        if status:
            _need_memory(running, container.limits)
    except KeyboardInterrupt:
        status = stop(running)
        if status != steps.exit_status().paused:
            raise
    except docker.errors.APIError as error:
        raise Stop("a container that starts", line(error), container.image, "invoke doctor") from None
    finally:
        running.remove(force=True)
    return status, b"".join(captured).decode()


def need_cpus(limits: Limits) -> None:
    """Raise Stop unless the engine's machine has as many CPUs as a container may use: Docker refuses others."""
    if limits.cpus and limits.cpus > (count := int(engine.client().info().get("NCPU") or limits.cpus)):
        raise Stop(
            f"at most {count}, the CPUs of the engine's machine",
            f"{limits.cpus:g}",
            "PINTUNE_CPUS",
            f"lower PINTUNE_CPUS to {count}, or unset it",
        )


def _need_memory(ended: Any, limits: Limits) -> None:
    """Raise OutOfMemory if memory ran out in a container that has ended."""
    ended.reload()
    if ended.attrs["State"]["OOMKilled"]:
        limit = f"PINTUNE_MEMORY={limits.memory}"
        raise OutOfMemory(
            f"more memory than the {limits.memory} of its limit" if limits.memory else "memory",
            f"the container was killed at {limit}" if limits.memory else "the machine has no more",
            limit if limits.memory else "the machine",
            "raise PINTUNE_MEMORY or unset it" if limits.memory else "free memory",
        )


def _remove_ended() -> None:
    """Remove the containers of verbs that were killed, which could not do it themselves."""
    for left in engine.client().containers.list(filters={"label": LABEL, "status": "exited"}, ignore_removed=True):
        ended = datetime.datetime.fromisoformat(left.attrs["State"]["FinishedAt"][:19] + "+00:00").timestamp()
        if ended < time.time() - _REMOVED_AFTER:
            with contextlib.suppress(docker.errors.APIError):  # another verb removes it
                left.remove()


def stop(running: Any) -> int:
    """Stop a running container, print what it writes until it ends, and return its exit status."""
    since = time.time()
    running.stop(timeout=STOP_TIMEOUT)
    _write(running.logs(since=since), sys.stderr)
    return int(running.wait()["StatusCode"])


def _write(data: bytes, to: Any) -> None:
    to.flush()
    to.buffer.write(data)  # bytes: a part may end within a character
    to.buffer.flush()


def hand_over(folder: Path) -> None:
    """Make a folder; where the caller is root, give it and its contents to the container's user."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid():
        return
    root = folder.resolve()  # it may be a link to another disk
    _give(root)
    for parent, folders, files in os.walk(root):
        for name in (*folders, *files):
            _give(Path(parent, name))


def _give(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):  # another step has just removed it
        if path.lstat().st_uid != OTHER_UID:
            os.lchown(path, OTHER_UID, OTHER_UID)
