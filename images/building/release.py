"""Release builds: from a commit, without cache, with the same manifest digest on every machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from images import engine, git, matrix
from images.building import build, lock, oci, sbom
from images.errors import Stop


def folder() -> Path:
    """The folder of release archives, their records and their SBOMs."""
    return matrix.ROOT / ".pintune" / "release"


def archive(image: str, flavor: str) -> Path:
    """The archive of the newest release build."""
    return folder() / f"{image}-{flavor}.tar"


def record(image: str, flavor: str) -> dict[str, Any]:
    """The record of the newest release build.

    Raises:
        Stop: there is none.
    """
    path = archive(image, flavor).with_suffix(".json")
    if not path.exists():
        raise Stop(
            f"a release build of {image}:{flavor}",
            "none",
            str(path),
            f"invoke build --release --image {image} --flavor {flavor}",
        )
    return dict(json.loads(path.read_text(encoding="utf-8")))


def build_release(image: str, flavor: str, dry: bool, offline: Path | None, twice: bool) -> Iterator[str]:
    """`make`, or with `twice` `verify`; a dry call prints one command in both cases."""
    return verify(image, flavor, offline) if twice and not dry else make(image, flavor, dry, offline)


def make(image: str, flavor: str, dry: bool, offline: Path | None = None) -> Iterator[str]:
    """Build a release and load it into the engine; yields the lines that report it.

    Raises:
        Stop: uncommitted changes, or as `build.build`.
    """
    target = archive(image, flavor)
    if dry:
        output = build.archive(target, git.commit_time())  # a dry call does not look whether the base is younger
        yield build.build(image, flavor, True, output, offline)
        return
    made = _into(target, image, flavor, offline)
    engine.load(target)
    target.with_suffix(".json").write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    bill = sbom.write(target.with_suffix(".cdx.json"), made)
    yield f"build  {build.tag(image, flavor)}: {made['digest']}"
    size = f"{oci.compressed_size(target) / 1e6:.0f} MB"
    yield f"build  {target.relative_to(matrix.ROOT)}: {size}, revision {made['revision'][:12]}"
    yield f"build  {bill.relative_to(matrix.ROOT)}: its bill of materials (CycloneDX)"


def verify(image: str, flavor: str, offline: Path | None = None) -> Iterator[str]:
    """Build a release twice and compare; yields the lines that report it.

    Raises:
        Stop: the two differ, after their differences were yielded; or as `make`.
    """
    yield from make(image, flavor, False, offline)
    first, second = archive(image, flavor), folder() / f"{image}-{flavor}.again.tar"
    try:
        again = _into(second, image, flavor, offline)["digest"]
        if again == oci.digest(first):
            yield f"verify {image}:{flavor}: the same digest twice"
            return
        found = oci.differences(first, second)
        yield from found
    finally:
        second.unlink(missing_ok=True)
    raise Stop(
        f"the same digest twice for {image}:{flavor}",
        f"{len(found)} differences, listed above",
        "images/Dockerfile",
        "make these the same in every build",
    )


def source_date_epoch(base: str) -> int:
    """The commit's time in seconds since 1970, or the base's if it is later, so that times in its layers stay."""
    return max(git.commit_time(), engine.created(base))


def _into(target: Path, image: str, flavor: str, offline: Path | None) -> dict[str, Any]:
    """Build into `target`; returns its record."""
    revision, dirty = git.revision()
    if not revision or dirty:
        raise Stop(
            "a commit without changes since: a release is of a revision",
            "uncommitted changes" if revision else "no git repository",
            "git status",
            "commit them, then invoke build --release",
        )
    known = matrix.load()
    base = build.base_image(known)
    engine.need_buildx()
    epoch = source_date_epoch(base)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}")
    with tempfile.TemporaryDirectory(prefix="pintune-release-") as scratch:
        try:
            git.export(revision, Path(scratch))  # the commit alone: a checkout may have files that git ignores
            build.build(image, flavor, False, build.archive(staged, epoch), offline, Path(scratch))
            staged.replace(target)
        finally:
            staged.unlink(missing_ok=True)
    labels = build.labels(image, flavor)
    return {
        "image": image,
        "flavor": flavor,
        "version": git.version(),
        "revision": revision,
        "digest": oci.digest(target),
        "base": f"{labels['org.opencontainers.image.base.name']}@{labels['org.opencontainers.image.base.digest']}",
        "engine": engine.version(),
        "snapshot": build.snapshot(known),
        "lock_sha256": lock.sha256(matrix.lock_file(image, flavor)),
        "source": build.source_hash(image, flavor),
        "source_date_epoch": epoch,
    }
