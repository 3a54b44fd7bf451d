"""The Docker engine, through its SDK: whether one answers, what it holds, pull and push."""

from __future__ import annotations

import datetime
import functools
import io
import os
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors

from images import disk_space, matrix
from images.errors import Stop, line

GPU_REMEDY = (
    "install nvidia-container-toolkit, then: nvidia-ctk runtime configure --runtime=docker && systemctl restart docker"
)
_LOGIN = "check its name and docker login"


@functools.lru_cache(maxsize=1)
def client() -> docker.DockerClient:
    """A client of the engine that the docker command uses (DOCKER_HOST, else its current context).

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
            line(error),
            host or "the default socket",
            "start Docker, or use --runner venv (no engine needed)",
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
    done = subprocess.run(
        ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], capture_output=True, text=True
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def need_buildx() -> None:
    """Raise Stop unless an engine answers and the docker command has buildx."""
    client()
    if buildx_version() is None:
        raise Stop(
            "docker buildx",
            "a docker command without it",
            shutil.which("docker") or "no docker command on the PATH",
            "install docker-buildx (docker-buildx-plugin from Docker's own repository), or use --runner venv",
        )


def buildx_version() -> str | None:
    """The version that `docker buildx version` prints; None without buildx."""
    if not shutil.which("docker"):
        return None
    done = subprocess.run(["docker", "buildx", "version"], capture_output=True, text=True)
    words = done.stdout.split()
    return words[1] if done.returncode == 0 and len(words) > 1 else None


def buildx_environment() -> dict[str, str]:
    """The environment for buildx; its folder is in the checkout where HOME cannot be written."""
    home = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    own = {} if disk_space.writable(home / "buildx") else {"BUILDX_CONFIG": str(matrix.ROOT / ".pintune" / "buildx")}
    return {**own, **os.environ}


def gpu_access() -> str:
    """How the engine gives containers GPUs: "nvidia" (its runtime), "cdi" (a device specification), "" not at all."""
    info = client().info()
    if "nvidia" in (info.get("Runtimes") or {}):
        return "nvidia"
    folders = [Path(folder) for folder in info.get("CDISpecDirs") or ()]
    files = [file for folder in folders if folder.is_dir() for file in folder.iterdir()]
    specs = [file.read_text(encoding="utf-8", errors="replace") for file in files if file.suffix in (".json", ".yaml")]
    return "cdi" if any("nvidia.com/gpu" in spec for spec in specs) else ""


def image_id(name: str) -> str | None:
    """The id of an image in the store, None if it has none of that name."""
    try:
        return str(client().images.get(name).id)
    except docker.errors.ImageNotFound:
        return None


def image_label(name: str, label: str) -> str | None:
    """A label of an image, None without image or label."""
    try:
        return client().images.get(name).labels.get(label)
    except docker.errors.ImageNotFound:
        return None


def created(name: str) -> int:
    """Creation time of an image, in seconds since 1970; pulls it if the engine does not have it.

    Raises:
        Stop: it cannot be pulled.
    """
    if image_id(name) is None:
        pull(name)
    created = str(client().images.get(name).attrs.get("Created") or "1970-01-01T00:00:00Z")
    moment = datetime.datetime.fromisoformat(f"{created[:19]}+00:00")
    return max(0, int(moment.timestamp()))


def load(archive: Path) -> None:
    """Load an image archive into the store, with the names in it.

    Raises:
        Stop: the engine rejects it.
    """
    try:
        with archive.open("rb") as file:
            client().images.load(file)
    except (OSError, docker.errors.DockerException) as error:
        raise Stop(
            "an image archive that the engine loads", line(error), str(archive), "invoke build --release"
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
    """An image that the engine pulled."""

    digests: tuple[str, ...]
    labels: Mapping[str, str]


def pull(source: str) -> Pulled:
    """Pull NAME:TAG or NAME@DIGEST.

    Raises:
        Stop: the registry refuses, or sends bytes of another digest.
    """
    try:
        for event in client().api.pull(source, stream=True, decode=True):
            if "error" in event:
                raise Stop(f"the image {source}", str(event["error"]), "the registry", _LOGIN)
        image = client().images.get(source)
    except (docker.errors.DockerException, OSError) as error:
        raise Stop(f"the image {source}", line(error), "the registry", _LOGIN) from None
    listed = [each.partition("@")[2] for each in image.attrs.get("RepoDigests") or ()]
    return Pulled(tuple(dict.fromkeys(each for each in (*listed, str(image.id)) if each)), image.labels)


def push(name: str, to: str, tag: str) -> str:
    """Push an image as `to`:`tag`; returns the digest that the registry has afterwards.

    Raises:
        Stop: the registry refuses.
    """
    where = f"{to}:{tag}"
    try:
        client().images.get(name).tag(to, tag)
        for event in client().api.push(to, tag, stream=True, decode=True):
            if "error" in event:
                client().images.remove(where, noprune=True)  # only the name
                raise Stop(f"a push to {where}", str(event["error"]), "the registry", _LOGIN)
        return registry_digest(where)
    except (docker.errors.DockerException, OSError) as error:
        raise Stop(f"a push to {where}", line(error), "the registry", _LOGIN) from None


def registry_digest(where: str) -> str:
    """The digest that a registry has for a name, "" if it has none."""
    try:
        return str(client().images.get_registry_data(where).id)
    except docker.errors.DockerException:
        return ""


def name(source: str, target: str) -> None:
    """Give an image of the store another name."""
    repository, _, tag = target.partition(":")
    client().images.get(source).tag(repository, tag)


def free_space() -> int | None:
    """Bytes free where the engine keeps its images, None if that is on another machine."""
    root = Path(client().info().get("DockerRootDir", ""))
    return disk_space.free(root) if root.is_dir() else None


def shown(command: list[str]) -> str:
    """A command, quoted for a shell."""
    return shlex.join(command)


@dataclass(frozen=True)
class Stored:
    """Something that the engine keeps on its disk."""

    id: str
    name: str
    size: int  # bytes; images and cache share some


def images(label: str) -> list[Stored]:
    """All images with a label."""
    found = client().images.list(filters={"label": label})
    return [Stored(str(each.id), ", ".join(each.tags) or str(each.id)[:19], each.attrs["Size"]) for each in found]


def remove_image(id: str) -> None:
    """Remove an image with all its names.

    Raises:
        Stop: a container uses it.
    """
    try:
        for name in client().images.get(id).tags or [id]:
            client().images.remove(name)
    except docker.errors.ImageNotFound:
        return
    except docker.errors.APIError as error:
        raise Stop("an image that no container uses", line(error), id[:19], "docker ps --all") from None


def build_cache(marks: Collection[str]) -> list[Stored]:
    """The records of BuildKit's cache whose description has one of these marks, and that no build uses."""
    records = client().df().get("BuildCache") or ()
    return [
        Stored(each["ID"], each["Description"], each["Size"])
        for each in records
        if not each["InUse"] and any(mark in each["Description"] for mark in marks)
    ]


def prune_cache(records: Collection[Stored]) -> int:
    """Remove records of BuildKit's cache; returns the bytes that this freed. One that others build on stays."""
    freed, last = 0, -1
    while freed != last:  # a record can go once those that build on it have gone
        last = freed
        for record in records:
            done = client().api.prune_builds({"id": [record.id]}, all=True)  # type: ignore[arg-type] # has no id
            freed += int(done.get("SpaceReclaimed") or 0)
    return freed
