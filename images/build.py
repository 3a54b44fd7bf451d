"""Building an image: `docker buildx build`, because the Docker SDK cannot speak BuildKit."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from images import engine, facts, hostpip, lock, matrix, wheelhouse
from images.errors import Stop

SOURCE_LABEL = "dev.pintune.source"


@dataclass(frozen=True)
class Plan:
    """All that a build command says."""

    image: str
    flavor: str
    base: str
    python: str
    platform: str
    lock: str  # file name under images/locks
    lock_sha256: str
    revision: str
    source: str  # hash of everything that the image is made from
    wheelhouse: Path
    secrets: Path  # folder of pip.conf, uv.toml, certificates
    proxies: tuple[str, ...]  # names of the proxy variables that are set


def tag(image: str, flavor: str) -> str:
    """Name of an everyday image."""
    return f"pintune/{image}:{flavor}"


def argv(plan: Plan) -> list[str]:
    """The build command, from the repository's root. No address or token is in it: these are in the secret files."""
    arguments = {
        "BASE": plan.base,
        "PYTHON": plan.python,
        "LOCK": plan.lock,
        "LOCK_SHA256": plan.lock_sha256,
        "FLAVOR": plan.flavor,
    }
    labels = {
        "org.opencontainers.image.title": f"pintune {plan.image} {plan.flavor}",
        "org.opencontainers.image.revision": plan.revision,
        "org.opencontainers.image.base.name": plan.base,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "dev.pintune.lock": plan.lock_sha256,
        SOURCE_LABEL: plan.source,
    }
    command = ["docker", "buildx", "build", "--load", "--provenance=false", "--platform", plan.platform,
               "--file", "images/Dockerfile", "--target", plan.image, "--tag", tag(plan.image, plan.flavor)]  # fmt: skip
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    for name in plan.proxies:
        command += ["--build-arg", name]  # its value comes from the environment
    for name, value in labels.items():
        command += ["--label", f"{name}={value}"]
    for name in ("pip.conf", "uv.toml", "certificates"):
        command += ["--secret", f"id={name},src={plan.secrets / name}"]
    return [*command, "--build-context", f"wheelhouse={plan.wheelhouse}", "."]


def base_image(known: matrix.Matrix, environment: Mapping[str, str] = os.environ) -> str:
    """The pinned base, or what PINTUNE_BASE_IMAGE puts in its place where no registry is reached."""
    return environment.get("PINTUNE_BASE_IMAGE") or known.base.image


def source_hash(image: str, flavor: str) -> str:
    """Hash of what an image is made from: Dockerfile, lock, base and pipeline code. An image with another one is stale."""
    digest = hashlib.sha256(base_image(matrix.load()).encode())
    pipeline = matrix.ROOT / "pipeline"
    files = [matrix.ROOT / "images" / "Dockerfile", matrix.lock_file(image, flavor), matrix.tools_lock_file()]
    files += sorted(file for file in pipeline.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    for file in files:
        digest.update(f"\0{file.relative_to(matrix.ROOT)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def build(image: str, flavor: str, dry: bool) -> str:
    """Build an image into the engine's store; returns the line that says what it is.

    Raises:
        Stop: no engine, no buildx, a lock that does not match, no disk space, or a build that failed.
    """
    known = matrix.load()
    known.flavor(flavor)
    pins = lock.read(matrix.lock_file(image, flavor), known.requirements(image, flavor))
    pins += lock.read(matrix.tools_lock_file(), known.tools)
    settings = hostpip.read()
    with hostpip.secrets(keep=dry) as folder:
        made = _plan(image, flavor, known, folder)
        taken = wheelhouse.gather(pins, settings, made.wheelhouse)
        backend = hostpip.torch_backend(settings, taken, known.flavor(flavor).torch_backend)
        hostpip.private(folder / "pip.conf", hostpip.pip_conf(settings, "/run/secrets/certificates"))
        hostpip.private(folder / "uv.toml", hostpip.uv_toml(settings, ["/wheelhouse"], backend))
        hostpip.private(folder / "certificates", settings.certificates.read_text(encoding="utf-8") if settings.certificates else "")
        if dry:
            return engine.shown(argv(made))
        engine.need_buildx()
        _need_space(8 * 2**30)
        if subprocess.run(argv(made), cwd=matrix.ROOT).returncode:
            raise Stop(f"the image {tag(image, flavor)}", "a build that failed; its last lines are above", "images/Dockerfile",
                       "mend what they name, then invoke build; where no registry is reached, PINTUNE_BASE_IMAGE names a local base")  # fmt: skip
    return f"build  {tag(image, flavor)}: {engine.image_id(tag(image, flavor))}"


def _plan(image: str, flavor: str, known: matrix.Matrix, scratch: Path) -> Plan:
    path = matrix.lock_file(image, flavor)
    revision, _ = facts.revision()
    return Plan(
        image, flavor, base_image(known), known.base.python, known.base.platform, path.name, lock.sha256(path), revision,
        source_hash(image, flavor), matrix.ROOT / ".pintune" / "wheelhouse" / f"{image}-{flavor}", scratch,
        tuple(name for name in hostpip.PROXIES if os.environ.get(name)),
    )  # fmt: skip


def _need_space(size: int) -> None:
    free = engine.free_space()
    if free is not None and free < size:
        raise Stop(f"{size / 2**30:.0f} GiB free for the engine", f"{free / 2**30:.1f} GiB", "the engine's data folder", "docker system prune")
