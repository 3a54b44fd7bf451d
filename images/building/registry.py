"""Push and pull of release images, by digest. images/released.json, which is in git, records the releases."""

from __future__ import annotations

import json
import os
from typing import Any

from images import engine, git, matrix
from images.building import build, release
from images.errors import Stop, line

RECORD = matrix.ROOT / "images" / "released.json"


def push(image: str, flavor: str, registry: str, dry: bool) -> str:
    """Push the newest release build and record its digest; returns the line that reports it.

    Raises:
        Stop: no release build, another digest recorded for this version or in the registry, an engine that changes the
            digest, or a registry that refuses.
    """
    matrix.load().image(image, flavor)
    to, tag = f"{_address(registry)}/{image}", f"{flavor}-{git.version()}"
    name = build.tag(image, flavor)
    if dry:
        commands = (["docker", "tag", name, f"{to}:{tag}"], ["docker", "push", f"{to}:{tag}"])
        return "\n".join(map(engine.shown, commands))
    made, known = release.record(image, flavor), _released().get(f"{image}:{tag}")
    if known and known["digest"] != made["digest"]:
        raise Stop(
            f"the digest recorded for {image}:{tag}, {known['digest']}",
            made["digest"],
            str(RECORD.relative_to(matrix.ROOT)),
            f"build revision {known['revision'][:12]}, or raise the version in pyproject.toml",
        )
    existing = engine.registry_digest(f"{to}:{tag}")
    if existing and existing != made["digest"]:
        raise Stop(
            f"no other {image}:{tag} in the registry",
            existing,
            f"{to}:{tag}",
            "raise the version in pyproject.toml; nothing was pushed",
        )
    engine.load(release.archive(image, flavor))  # the engine may have another build by that name
    repacks = "this engine repacks images: turn on its containerd image store (daemon.json, features)"
    if engine.image_id(name) != made["digest"]:
        raise Stop(
            f"the digest that was built, {made['digest']}",
            str(engine.image_id(name)),
            name,
            f"{repacks}; nothing was pushed",
        )
    pushed = engine.push(name, to, tag)
    if pushed != made["digest"]:
        raise Stop(f"the digest that was built, {made['digest']}", pushed or "none", f"{to}:{tag}", repacks)
    _write({**_released(), f"{image}:{tag}": {**made, "registry": _address(registry)}})
    return f"push   {to}:{tag}@{pushed}, recorded in {RECORD.relative_to(matrix.ROOT)}: commit it"


def pull(image: str, flavor: str, registry: str, dry: bool) -> str:
    """Pull the image that was released as this version and give it its local name; returns the line that reports it.

    Raises:
        Stop: no release, a registry that refuses or sends other bytes, or labels other than those recorded.
    """
    tag = f"{flavor}-{git.version()}"
    known = released(image, flavor)
    if not known:
        raise Stop(
            f"a digest of {image}:{tag}",
            "none recorded",
            str(RECORD.relative_to(matrix.ROOT)),
            f"invoke build --image {image} --flavor {flavor}",
        )
    address = _address(registry or os.environ.get("PINTUNE_REGISTRY", "") or known["registry"])
    source = f"{address}/{image}@{known['digest']}"
    if dry:
        commands = (["docker", "pull", source], ["docker", "tag", source, build.tag(image, flavor)])
        return "\n".join(map(engine.shown, commands))
    pulled = engine.pull(source)
    if known["digest"] not in pulled.digests:
        raise Stop(
            f"the digest {known['digest']}",
            ", ".join(pulled.digests) or "none",
            source,
            "ask who runs the registry; nothing was tagged",
        )
    wanted = {
        build.LOCK_LABEL: known["lock_sha256"],
        build.SOURCE_LABEL: known["source"],
        "org.opencontainers.image.revision": known["revision"],
    }
    for label, value in wanted.items():
        if pulled.labels.get(label) != value:
            raise Stop(
                f"the label {label}={value}",
                repr(pulled.labels.get(label)),
                source,
                "ask who released it; nothing was tagged",
            )
    engine.name(source, build.tag(image, flavor))
    stale = (
        "" if known["source"] == build.source_hash(image, flavor) else "; this checkout has changed since: invoke build"
    )
    return f"pull   {build.tag(image, flavor)}: {known['digest']}{stale}"


def reference(image: str, flavor: str) -> tuple[str, str]:
    """REGISTRY/IMAGE@DIGEST of the image that was released as this version, and the commit it was made from.

    Raises:
        Stop: no release is recorded, or no such image or flavor.
    """
    tag = f"{flavor}-{git.version()}"
    if not (known := released(image, flavor)):
        todo = (
            f"--image REGISTRY/{image}@sha256:…, or invoke build --release --flavor {flavor} push --registry REGISTRY"
        )
        raise Stop(f"a digest of {image}:{tag}", "none recorded", str(RECORD.relative_to(matrix.ROOT)), todo)
    return f"{known['registry']}/{image}@{known['digest']}", known["revision"]


def released(image: str, flavor: str) -> dict[str, Any]:
    """The record of the release of this version; empty if there is none.

    Raises:
        Stop: as `Matrix.image`, or the file of records cannot be read.
    """
    matrix.load().image(image, flavor)
    return dict(_released().get(f"{image}:{flavor}-{git.version()}", {}))


def _address(registry: str) -> str:
    registry = registry or os.environ.get("PINTUNE_REGISTRY", "")
    if not registry or "://" in registry:
        raise Stop(
            "a registry such as ghcr.io/OWNER/pintune",
            repr(registry),
            "--registry or PINTUNE_REGISTRY",
            "name the registry, without https://",
        )
    return registry.rstrip("/")


def _released() -> dict[str, Any]:
    try:
        return dict(json.loads(RECORD.read_text(encoding="utf-8"))) if RECORD.exists() else {}
    except ValueError as error:
        raise Stop("a record of releases in JSON", line(error), str(RECORD), "git checkout it") from None


def _write(released: dict[str, Any]) -> None:
    staged = RECORD.with_suffix(".new")
    staged.write_text(json.dumps(dict(sorted(released.items())), indent=2) + "\n", encoding="utf-8")
    staged.replace(RECORD)
