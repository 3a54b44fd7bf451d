"""The Docker engine: whether one answers, what it holds, and what it is asked through the SDK."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import docker
import docker.errors

from images.errors import Stop


@functools.lru_cache(maxsize=1)
def client() -> docker.DockerClient:
    """A client of the engine that the docker command talks to (DOCKER_HOST, else its current context).

    Raises:
        Stop: none answers.
    """
    host = os.environ.get("DOCKER_HOST") or _context_host()
    try:
        found = docker.DockerClient(base_url=host, timeout=600) if host and not os.environ.get("DOCKER_HOST") else docker.from_env(timeout=600)
        found.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise Stop("a Docker engine that answers", _short(error), host or "the default socket",
                   "start Docker, or take --runner venv (no engine needed)") from None  # fmt: skip
    return found


def answers() -> bool:
    """Whether an engine answers."""
    try:
        client()
    except Stop:
        return False
    return True


def _context_host() -> str:
    if not shutil.which("docker"):
        return ""
    asked = subprocess.run(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], capture_output=True, text=True)
    return asked.stdout.strip() if asked.returncode == 0 else ""


def need_buildx() -> None:
    """Raise Stop unless an engine answers and the docker command has buildx."""
    client()
    if buildx_version() is None:
        raise Stop("docker buildx", "a docker command without it", shutil.which("docker") or "no docker command on the PATH",
                   "install the docker-buildx package (docker-buildx-plugin from Docker's own), or take --runner venv")  # fmt: skip


def buildx_version() -> str | None:
    """The version that `docker buildx version` prints, None where there is no buildx."""
    if not shutil.which("docker"):
        return None
    asked = subprocess.run(["docker", "buildx", "version"], capture_output=True, text=True)
    words = asked.stdout.split()
    return words[1] if asked.returncode == 0 and len(words) > 1 else None


def image_id(name: str) -> str | None:
    """The id of an image in the store, None where it is not there."""
    try:
        return str(client().images.get(name).id)
    except docker.errors.ImageNotFound:
        return None


def image_label(name: str, label: str) -> str | None:
    """A label of an image, None where image or label are not there."""
    try:
        return client().images.get(name).labels.get(label)
    except docker.errors.ImageNotFound:
        return None


def free_space() -> int | None:
    """Bytes free where the engine keeps its images, None where that is not on this machine."""
    root = Path(client().info().get("DockerRootDir", ""))
    return shutil.disk_usage(root).free if root.is_dir() else None


def shown(command: list[str]) -> str:
    """A command as a person could paste it."""
    return shlex.join(command)


def _short(error: Exception) -> str:
    """The operating system's own words, where they are what lies at the bottom of it."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, OSError) and at.strerror:
            return at.strerror
        at = at.__cause__ or at.__context__
    return str(error).splitlines()[0][:200]
