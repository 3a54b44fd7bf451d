"""The Docker engine: whether one answers, what it holds, and what it is asked through the SDK."""

from __future__ import annotations

import datetime
import functools
import io
import os
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
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
        found = (
            docker.DockerClient(base_url=host, timeout=600)
            if host and not os.environ.get("DOCKER_HOST")
            else docker.from_env(timeout=600)
        )
        found.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise Stop(
            "a Docker engine that answers",
            _short(error),
            host or "the default socket",
            "start Docker, or take --runner venv (no engine needed)",
        ) from None
    return found


def version() -> str:
    """The engine's version; BuildKit is part of it."""
    return str(client().version()["Version"])


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
    asked = subprocess.run(
        ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], capture_output=True, text=True
    )
    return asked.stdout.strip() if asked.returncode == 0 else ""


def need_buildx() -> None:
    """Raise Stop unless an engine answers and the docker command has buildx."""
    client()
    if buildx_version() is None:
        raise Stop(
            "docker buildx",
            "a docker command without it",
            shutil.which("docker") or "no docker command on the PATH",
            "install the docker-buildx package (docker-buildx-plugin from Docker's own), or take --runner venv",
        )


def buildx_version() -> str | None:
    """The version that `docker buildx version` prints, None where there is no buildx."""
    if not shutil.which("docker"):
        return None
    asked = subprocess.run(["docker", "buildx", "version"], capture_output=True, text=True)
    words = asked.stdout.split()
    return words[1] if asked.returncode == 0 and len(words) > 1 else None


def gpu_access() -> str:
    """How the engine gives a container GPUs: "nvidia" (its runtime is set up), "cdi" (a device specification lies there), "" not at all."""
    told = client().info()
    if "nvidia" in (told.get("Runtimes") or {}):
        return "nvidia"
    folders = [Path(folder) for folder in told.get("CDISpecDirs") or ()]
    specs = [
        file for folder in folders if folder.is_dir() for file in folder.iterdir() if file.suffix in (".json", ".yaml")
    ]
    return (
        "cdi" if any("nvidia.com/gpu" in file.read_text(encoding="utf-8", errors="replace") for file in specs) else ""
    )


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


def created(name: str) -> int:
    """When an image was made, in seconds since 1970; pulls it if it is not here.

    Raises:
        Stop: it cannot be had.
    """
    if image_id(name) is None:
        pull(name)
    told = str(client().images.get(name).attrs.get("Created") or "1970-01-01T00:00:00Z")
    moment = datetime.datetime.fromisoformat(f"{told[:19]}+00:00")
    return max(0, int(moment.timestamp()))


def load(archive: Path) -> None:
    """Bring an image archive into the store, with the names in it.

    Raises:
        Stop: the engine does not take it.
    """
    try:
        with archive.open("rb") as file:
            client().images.load(file)
    except (OSError, docker.errors.DockerException) as error:
        raise Stop(
            "an image archive that the engine takes", _short(error), str(archive), "invoke build --release"
        ) from None


def read_file(image: str, path: str) -> bytes:
    """A file of an image."""
    made = client().containers.create(image)
    try:
        parts, _ = made.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as tar:
            file = tar.extractfile(tar.next() or "")
            return file.read() if file else b""
    finally:
        made.remove()


@dataclass(frozen=True)
class Pulled:
    """What the engine says of an image that it pulled."""

    digests: tuple[str, ...]
    labels: Mapping[str, str]


def pull(source: str) -> Pulled:
    """Pull NAME:TAG or NAME@DIGEST.

    Raises:
        Stop: the registry refuses, or what came is not what the digest says.
    """
    try:
        for line in client().api.pull(source, stream=True, decode=True):
            if "error" in line:
                raise Stop(f"the image {source}", str(line["error"]), "the registry", "check its name and docker login")
        image = client().images.get(source)
    except (docker.errors.DockerException, OSError) as error:
        raise Stop(
            f"the image {source}",
            str(getattr(error, "explanation", "") or error),
            "the registry",
            "check its name and docker login",
        ) from None
    listed = [each.partition("@")[2] for each in image.attrs.get("RepoDigests") or ()]
    return Pulled(tuple(dict.fromkeys(each for each in (*listed, str(image.id)) if each)), image.labels)


def push(name: str, to: str, tag: str) -> str:
    """Push an image as `to`:`tag`; returns the digest that the registry has now.

    Raises:
        Stop: the registry refuses.
    """
    where = f"{to}:{tag}"
    try:
        client().images.get(name).tag(to, tag)
        for line in client().api.push(to, tag, stream=True, decode=True):
            if "error" in line:
                client().images.remove(where, noprune=True)  # only the name
                raise Stop(f"a push to {where}", str(line["error"]), "the registry", "check its name and docker login")
        return registry_digest(where)
    except (docker.errors.DockerException, OSError) as error:
        raise Stop(
            f"a push to {where}",
            str(getattr(error, "explanation", "") or error),
            "the registry",
            "check its name and docker login",
        ) from None


def registry_digest(where: str) -> str:
    """The digest that a registry has for a name, "" for none."""
    try:
        return str(client().images.get_registry_data(where).id)
    except docker.errors.DockerException:
        return ""


def name(source: str, target: str) -> None:
    """Give an image of the store another name."""
    repository, _, tag = target.partition(":")
    client().images.get(source).tag(repository, tag)


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
