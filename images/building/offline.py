"""What a build without network needs, in one folder to carry over: the wheels of an image's locks, and its Debian packages.

DIR/wheels/*.whl                 checked by hash, here and again by the build
DIR/debs/lists, DIR/debs/archives  apt's signed lists, and the packages
"""

from __future__ import annotations

from pathlib import Path

from images import matrix
from images.building import build, wheelhouse
from images.building.lock import parse
from images.errors import Stop

_LISTS = {"dev": ("dev",), "serve": ("serve",)}


def carried(offline: bool, folder: str) -> Path | None:
    """The folder that a build without network takes all from, None for a build with one.

    Raises:
        Stop: a folder without --offline: the build would not look into it.
    """
    if folder and not offline:
        raise Stop(
            "--offline with --wheelhouse", "--wheelhouse alone", "the command line", "add --offline, or leave both out"
        )
    return Path(folder or "wheelhouse").resolve() if offline else None


def gather(image: str, flavor: str, folder: Path, dry: bool) -> str:
    """Fill `folder`; returns the line that says what is in it, or with `dry` the command.

    Raises:
        Stop: as `build.build`, or a wheel that came is not of the lock.
    """
    locks = [matrix.tools_lock_file(), *build.locks(image, flavor)]
    cuda = bool(matrix.load().flavor(flavor).cuda)
    lists = ("base", "tools", *(["cuda"] if cuda else []), *_LISTS.get(image, ()))
    output = build.Output(
        ("--output", f"type=local,dest={folder}"),
        "carried",
        {"LISTS": " ".join(lists), "LOCKS": " ".join(path.name for path in locks)},
    )
    said = build.build(image, flavor, dry, output)
    if dry:
        return said
    pins = [pin for path in locks for pin in parse(path.read_text(encoding="utf-8"))]
    wheelhouse.need(pins, folder / "wheels")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    wheels, debs = (len(list(folder.glob(pattern))) for pattern in ("wheels/*.whl", "debs/archives/*.deb"))
    return f"wheelhouse  {folder}: {wheels} wheels, {debs} Debian packages, {size / 2**20:.0f} MiB"
