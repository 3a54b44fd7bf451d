"""Building an image: `docker buildx build`, because the Docker SDK cannot speak BuildKit."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from images import engine, git, matrix, pip_config
from images.building import lock, wheelhouse
from images.errors import Stop

SOURCE_LABEL = "dev.pintune.source"
LOCK_LABEL = "dev.pintune.lock"
_CODE_IN = ("train",)  # images that carry pipeline/; in the others one works on a checkout, or there is none


@dataclass(frozen=True)
class Output:
    """What a build makes of a target of the Dockerfile."""

    words: tuple[str, ...] = ("--load",)  # into the engine's store
    target: str = ""  # "" is the image's own
    arguments: Mapping[str, str] = field(default_factory=dict)


LOADED = Output()


def archive(file: Path, epoch: int) -> Output:
    """An image as a file, the same bytes in every build: no cache, and no time later than `epoch`, in seconds since 1970.

    SOURCE_DATE_EPOCH is https://reproducible-builds.org/specs/source-date-epoch/. Attestations hold times, so they stay out.
    """
    words = ("--no-cache", "--sbom=false", "--output", f"type=docker,dest={file},rewrite-timestamp=true")
    return Output(words, arguments={"SOURCE_DATE_EPOCH": str(epoch)})


@dataclass(frozen=True)
class Plan:
    """All that a build command says."""

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
    """Name of an everyday image."""
    return f"pintune/{image}:{flavor}"


def argv(plan: Plan) -> list[str]:
    """The build command, from the repository's root. No address or token is in it: these are in the secret files."""
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
    """The pinned base, or what PINTUNE_BASE_IMAGE puts in its place where no registry is reached."""
    return environment.get("PINTUNE_BASE_IMAGE") or known.base.image


def snapshot(known: matrix.Matrix, environment: Mapping[str, str] = os.environ) -> str:
    """The day of Debian's archive that packages come from, "" for the base's own sources.

    That is what a base in another's place has, unless PINTUNE_SNAPSHOT says otherwise.

    Raises:
        Stop: PINTUNE_SNAPSHOT is neither a day nor `off`.
    """
    told = environment.get("PINTUNE_SNAPSHOT") or (
        "off" if environment.get("PINTUNE_BASE_IMAGE") else known.base.snapshot
    )
    if told != "off" and not re.fullmatch(r"\d{8}T\d{6}Z", told):
        raise Stop(
            "a day of Debian's snapshot archive such as 20261101T000000Z, or off",
            repr(told),
            "PINTUNE_SNAPSHOT",
            "unset PINTUNE_SNAPSHOT",
        )
    return "" if told == "off" else told


def locks(image: str, flavor: str) -> list[Path]:
    """The locks whose wheels are in an image, the last one its own."""
    under = matrix.load().image(image, flavor).extends
    return [matrix.lock_file(name, flavor) for name in (under, image) if name]


def source_hash(image: str, flavor: str) -> str:
    """Hash of what an image is made from: Dockerfile and what it runs, locks, base, and code. An image with another one is stale.

    Hidden files and caches are not in the build's context (.dockerignore).
    """
    known = matrix.load()
    digest = hashlib.sha256(f"{base_image(known)} {snapshot(known)} {known.base.python}".encode())
    folders = [matrix.ROOT / "images" / "layers", *([matrix.ROOT / "pipeline"] if image in _CODE_IN else [])]
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
    carried: Path | None = None,
    context: Path | None = None,
) -> str:
    """Build an image; returns the line that says what is in the engine's store now, or with `dry` the command.

    Args:
        carried: a folder that `invoke wheelhouse` filled; with it the build has no network.
        context: a checkout to build from, instead of this one.

    Raises:
        Stop: not an image but a lock only, no engine, no buildx, a lock that does not match, no disk space, a wheel missing in `carried`, or a build that failed.
    """
    known = matrix.load()
    if known.image(image, flavor).lock_only:
        raise Stop("an image: train, dev, webui, serve", f"{image!r}, a lock only", str(matrix.FILE), "--image train")
    names = [name for name in (known.images[image].extends, image) if name]
    pins = [pin for row in (*(lock.row(name, flavor) for name in names), lock.tools()) for pin in lock.read(row)]
    settings = pip_config.Settings() if carried else pip_config.read()
    if not dry:
        engine.need_buildx()
        _need_space((8 if not known.flavor(flavor).cuda else 30) * 2**30)
    with pip_config.secrets(keep=dry) as folder:
        made = _plan(image, flavor, known, folder, output, carried)
        if carried:
            wheelhouse.need(pins, carried / "wheels")
            wheelhouse.need_debs(carried / "debs")
            taken: list[str] = []
        else:
            taken = wheelhouse.gather(pins, settings, made.wheelhouse)
            made.debs.mkdir(parents=True, exist_ok=True)
        backend = pip_config.torch_backend(settings, taken, known.flavor(flavor).torch_backend)
        asked = pip_config.with_torch_index(settings, backend) if output.target and not dry else settings
        pip_config.private(
            folder / "pip.conf", pip_config.pip_conf(asked, "/run/secrets/certificates", offline=bool(carried))
        )
        pip_config.private(
            folder / "uv.toml",
            pip_config.uv_toml(settings, ["/wheelhouse"], "" if carried else backend, offline=bool(carried)),
        )
        pip_config.private(
            folder / "certificates", settings.certificates.read_text(encoding="utf-8") if settings.certificates else ""
        )
        if dry:
            return engine.shown(argv(made))
        if subprocess.run(argv(made), cwd=context or matrix.ROOT).returncode:
            raise Stop(
                f"the image {tag(image, flavor)}",
                "a build that failed; its last lines are above",
                "images/Dockerfile",
                "mend what they name, then invoke build; where no registry is reached, PINTUNE_BASE_IMAGE names a local base"
                ", where Debian's snapshot archive is not, PINTUNE_SNAPSHOT=off",
            )
    return f"build  {tag(image, flavor)}: {engine.image_id(tag(image, flavor))}"


def _plan(image: str, flavor: str, known: matrix.Matrix, scratch: Path, output: Output, carried: Path | None) -> Plan:
    lock_files = locks(image, flavor)
    home = matrix.ROOT / ".pintune"
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
        carried / "wheels" if carried else home / "wheelhouse" / f"{image}-{flavor}",
        carried / "debs" if carried else home / "debs",
        scratch,
        () if carried else tuple(name for name in pip_config.PROXIES if os.environ.get(name)),
        output,
        bool(carried),
    )


def labels(image: str, flavor: str) -> dict[str, str]:
    """What an image says of itself, by the names of the OCI image specification's annotations where there is one."""
    known = matrix.load()
    base = base_image(known)
    revision, dirty = git.revision()
    said = {
        "org.opencontainers.image.title": f"pintune {image} {flavor}",
        "org.opencontainers.image.version": git.version(),
        "org.opencontainers.image.revision": f"{revision}-dirty" if dirty else revision,
        "org.opencontainers.image.base.name": base.partition("@")[0],
        "org.opencontainers.image.base.digest": base.partition("@")[2]
        or (engine.image_id(base) if engine.answers() else "")
        or "",
        "org.opencontainers.image.licenses": "Apache-2.0"
        + (" AND LicenseRef-NVIDIA-CUDA" if known.flavor(flavor).cuda else ""),
        "dev.pintune.image": image,
        "dev.pintune.flavor": flavor,
        LOCK_LABEL: lock.sha256(matrix.lock_file(image, flavor)),
        SOURCE_LABEL: source_hash(image, flavor),
        "dev.pintune.cuda": known.flavor(flavor).cuda or "none",
    }
    pins = {pin.name: pin.version for pin in lock.parse(matrix.lock_file(image, flavor).read_text(encoding="utf-8"))}
    return {**said, "dev.pintune.torch": pins.get("torch", "")}


def _need_space(size: int) -> None:
    free = engine.free_space()
    if free is not None and free < size:
        raise Stop(
            f"{size / 2**30:.0f} GiB free for the engine",
            f"{free / 2**30:.1f} GiB",
            "the engine's data folder",
            "docker system prune",
        )
