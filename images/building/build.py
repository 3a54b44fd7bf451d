"""Building an image: `docker buildx build`, because the Docker SDK cannot speak BuildKit."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from images import disk_space, engine, git, matrix, pip_config
from images.building import inputs, lock, quiet
from images.errors import Stop

SOURCE_LABEL = "dev.pintune.source"
LOCK_LABEL = "dev.pintune.lock"
# without cache, on two cores: docs/benchmarks.md
_USUALLY = {"cpu": "2 to 3 min, seconds with a cache", "cuda": "10 min or more, seconds with a cache"}
_CODE_IN = {"train": ("cpu", "cu128", "cu130"), "serve": ("cpu",)}  # images and flavors that contain pipeline/


@dataclass(frozen=True)
class Output:
    """Where a build writes a target of the Dockerfile."""

    words: tuple[str, ...] = ("--load",)  # into the engine's store
    target: str = ""  # "" is the image's own
    arguments: Mapping[str, str] = field(default_factory=dict)


LOADED = Output()


def archive(file: Path, epoch: int) -> Output:
    """An image as a file, bit for bit reproducible: no cache, and no time later than `epoch`, in seconds since 1970.

    SOURCE_DATE_EPOCH is https://reproducible-builds.org/specs/source-date-epoch/. Attestations contain times, so the
    build has none.
    """
    words = ("--no-cache", "--sbom=false", "--output", f"type=docker,dest={file},rewrite-timestamp=true")
    return Output(words, arguments={"SOURCE_DATE_EPOCH": str(epoch)})


@dataclass(frozen=True)
class Plan:
    """All settings of a build command."""

    image: str
    flavor: str
    platform: str
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    wheelhouse: Path
    debs: Path
    secrets: Path  # folder of pip.conf, uv.toml, certificates
    proxies: tuple[str, ...] = ()  # names of the proxy variables that are set
    output: Output = LOADED
    offline: bool = False


def tag(image: str, flavor: str) -> str:
    """Name of an image in the engine."""
    return f"pintune/{image}:{flavor}"


def argv(plan: Plan) -> list[str]:
    """The build command, for the repository's root. Addresses and tokens are only in the secret files."""
    command = [
        "docker",
        "buildx",
        "build",
        *plan.output.words,
        "--provenance=false",
        "--platform",
        plan.platform,
        "--file",
        "images/Dockerfile",
        "--target",
        plan.output.target or plan.image,
    ]
    if not plan.output.target:
        command += ["--tag", tag(plan.image, plan.flavor)]
    if plan.image == "dev" and not plan.output.target:
        command += ["--tag", tag(plan.image, "latest")]  # what .devcontainer opens, whichever flavor fits
    if plan.offline:
        command.append("--network=none")
    for name, value in {**plan.arguments, **plan.output.arguments}.items():
        command += ["--build-arg", f"{name}={value}"]
    for name in plan.proxies:
        command += ["--build-arg", name]  # its value comes from the environment
    for name, value in plan.labels.items():
        command += ["--label", f"{name}={value}"]
    for name in ("pip.conf", "uv.toml", "certificates"):
        command += ["--secret", f"id={name},src={plan.secrets / name}"]
    return [*command, "--build-context", f"wheelhouse={plan.wheelhouse}", "--build-context", f"debs={plan.debs}", "."]


def base_image(known: matrix.Matrix, environment: Mapping[str, str] = os.environ) -> str:
    """The pinned base, or the image that PINTUNE_BASE_IMAGE names instead where no registry is reachable."""
    return environment.get("PINTUNE_BASE_IMAGE") or known.base.image


def snapshot(known: matrix.Matrix, environment: Mapping[str, str] = os.environ) -> str:
    """The day of Debian's archive that packages come from, "" for the base's own sources.

    A base that PINTUNE_BASE_IMAGE names has its own sources, unless PINTUNE_SNAPSHOT names a day.

    Raises:
        Stop: PINTUNE_SNAPSHOT is neither a day nor `off`.
    """
    default = "off" if environment.get("PINTUNE_BASE_IMAGE") else known.base.snapshot
    day = environment.get("PINTUNE_SNAPSHOT") or default
    if day != "off" and not re.fullmatch(r"\d{8}T\d{6}Z", day):
        raise Stop(
            "a day of Debian's snapshot archive such as 20261101T000000Z, or off",
            repr(day),
            "PINTUNE_SNAPSHOT",
            "unset PINTUNE_SNAPSHOT",
        )
    return "" if day == "off" else day


def locks(image: str, flavor: str) -> list[Path]:
    """The locks whose wheels are in an image; its own comes last."""
    under = matrix.load().image(image, flavor).extends
    return [matrix.lock_file(name, flavor) for name in (under, image) if name]


def source_hash(image: str, flavor: str) -> str:
    """Hash of an image's inputs: Dockerfile, its scripts, locks, base and code. An image with another hash is stale.

    Hidden files and caches are not in the build context (.dockerignore).
    """
    known = matrix.load()
    digest = hashlib.sha256(f"{base_image(known)} {snapshot(known)} {known.base.python}".encode())
    folders = [
        matrix.ROOT / "images" / "layers",
        *([matrix.ROOT / "pipeline"] if flavor in _CODE_IN.get(image, ()) else []),
    ]
    files = [matrix.ROOT / "images" / "Dockerfile", *locks(image, flavor), matrix.tools_lock_file()]
    files += sorted(
        file
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file() and _in_context(file.relative_to(matrix.ROOT))
    )
    for file in files:
        digest.update(f"\0{file.relative_to(matrix.ROOT)}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _in_context(file: Path) -> bool:
    return not any(part == "__pycache__" or part.startswith(".") for part in file.parts)


def build(
    image: str,
    flavor: str,
    dry: bool = False,
    output: Output = LOADED,
    offline: Path | None = None,
    context: Path | None = None,
) -> str:
    """Build an image; returns the line that reports its name and id, or with `dry` the commands.

    Args:
        offline: a folder that `invoke wheelhouse` filled; with it the build has no network.
        context: a checkout to build from, instead of this one.

    Raises:
        Stop: a lock without an image, no engine, no buildx, a lock that does not match, no disk space, a wheel missing
            in `offline`, or a failed build.
    """
    known = matrix.load()
    if known.image(image, flavor).lock_only:
        raise Stop("an image: train, dev, webui, serve", f"{image!r}, a lock only", str(matrix.FILE), "--image train")
    if offline:
        inputs.need(image, flavor, offline)
    else:
        inputs.pins(image, flavor)
    if not dry:
        engine.need_buildx()
        needed = (30 if known.flavor(flavor).cuda else 8) * disk_space.GIB
        disk_space.need_space(needed, engine.free_space(), "the engine's data folder", "docker system prune")
    with pip_config.secrets(dry) as folder:
        made, downloads = _plan(image, flavor, known, folder, output, offline), bool(output.target)
        if dry:
            return f"{engine.shown(inputs.argv(image, flavor, offline, downloads))}\n{engine.shown(argv(made))}"
        inputs.write(folder, image, flavor, offline, downloads)
        log, usually = f"build-{image}-{flavor}", _USUALLY["cuda" if known.flavor(flavor).cuda else "cpu"]
        shown, checkout = f"{made.output.target or image} {flavor}", context or matrix.ROOT
        if quiet.run(argv(made), log, shown, usually, checkout, engine.buildx_environment()):
            raise Stop(
                f"the image {tag(image, flavor)}",
                "a failed build; its last lines are above",
                str(quiet.log_file(log).relative_to(matrix.ROOT)),
                "fix what they name, then invoke build; without a registry, PINTUNE_BASE_IMAGE names a local base"
                ", without Debian's snapshot archive, PINTUNE_SNAPSHOT=off",
            )
    return f"build  {tag(image, flavor)}: {engine.image_id(tag(image, flavor))}"


def _plan(image: str, flavor: str, known: matrix.Matrix, scratch: Path, output: Output, offline: Path | None) -> Plan:
    lock_files = locks(image, flavor)
    wheels, debs = inputs.folders(image, flavor, offline)
    base = base_image(known)
    arguments = {
        "BASE": base,
        "COMPUTE": "cuda" if known.flavor(flavor).cuda else "cpu",
        "DEBIAN": known.base.debian,
        "SNAPSHOT": snapshot(known),
        "PYTHON": known.base.python,
        "LOCK": lock_files[0].name,
        **({"MORE_LOCK": lock_files[1].name} if lock_files[1:] else {}),
        "LOCK_SHA256": lock.sha256(lock_files[-1]),
        "FLAVOR": flavor,
    }
    return Plan(
        image,
        flavor,
        known.base.platform,
        arguments,
        labels(image, flavor),
        wheels,
        debs,
        scratch,
        () if offline else tuple(name for name in pip_config.PROXIES if os.environ.get(name)),
        output,
        bool(offline),
    )


def labels(image: str, flavor: str) -> dict[str, str]:
    """The labels of an image, named as the OCI image specification's annotations where it has one."""
    known = matrix.load()
    base = base_image(known)
    revision, dirty = git.revision()
    digest = base.partition("@")[2] or (engine.image_id(base) if engine.answers() else "") or ""
    cuda = known.flavor(flavor).cuda
    pins = {pin.name: pin.version for pin in lock.parse(matrix.lock_file(image, flavor).read_text(encoding="utf-8"))}
    return {
        "org.opencontainers.image.title": f"pintune {image} {flavor}",
        "org.opencontainers.image.version": git.version(),
        "org.opencontainers.image.revision": f"{revision}-dirty" if dirty else revision,
        "org.opencontainers.image.base.name": base.partition("@")[0],
        "org.opencontainers.image.base.digest": digest,
        "org.opencontainers.image.licenses": "Apache-2.0" + (" AND LicenseRef-NVIDIA-CUDA" if cuda else ""),
        "dev.pintune.image": image,
        "dev.pintune.flavor": flavor,
        LOCK_LABEL: lock.sha256(matrix.lock_file(image, flavor)),
        SOURCE_LABEL: source_hash(image, flavor),
        "dev.pintune.cuda": cuda or "none",
        "dev.pintune.torch": pins.get("torch", ""),
    }
