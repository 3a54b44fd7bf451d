"""The folder that a build without network takes everything from: the wheels of an image's locks, and Debian packages.

DIR/wheels/*.whl                   checked by hash, here and by the build
DIR/debs/lists, DIR/debs/archives  apt's signed lists, and the packages
"""

from __future__ import annotations

from pathlib import Path

from images import matrix
from images.building import build, wheelhouse
from images.building.lock import parse
from images.errors import Stop

_LISTS = {("dev", False): ("dev",), ("dev", True): ("dev",), ("serve", True): ("serve",)}  # by image, and whether CUDA


def folder(offline: bool, name: str) -> Path | None:
    """The folder of a build without network, None for a build with one.

    Raises:
        Stop: a folder without --offline: the build would not use it.
    """
    if name and not offline:
        raise Stop(
            "--offline with --wheelhouse", "--wheelhouse alone", "the command line", "add --offline, or leave both out"
        )
    return Path(name or "wheelhouse").resolve() if offline else None


def gather(image: str, flavor: str, to: Path, dry: bool) -> str:
    """Fill the folder `to`; returns the line that reports its contents, or with `dry` the command.

    Raises:
        Stop: as `build.build`, or a wheel is missing afterwards.
    """
    locks = [matrix.tools_lock_file(), *build.locks(image, flavor)]
    cuda = bool(matrix.load().flavor(flavor).cuda)
    lists = ("base", "tools", *(["cuda"] if cuda else []), *_LISTS.get((image, cuda), ()))
    output = build.Output(
        ("--output", f"type=local,dest={to}"),
        "offline",
        {"LISTS": " ".join(lists), "LOCKS": " ".join(path.name for path in locks)},
    )
    reported = build.build(image, flavor, dry, output)
    if dry:
        return reported
    pins = [pin for path in locks for pin in parse(path.read_text(encoding="utf-8"))]
    wheelhouse.need(pins, to / "wheels")
    size = sum(file.stat().st_size for file in to.rglob("*") if file.is_file())
    wheels, debs = (len(list(to.glob(pattern))) for pattern in ("wheels/*.whl", "debs/archives/*.deb"))
    return f"wheelhouse  {to}: {wheels} wheels, {debs} Debian packages, {size / 2**20:.0f} MiB"
