"""The runner `here`: this Python itself, inside an image; for what only prepares data, with the packages it has."""

from __future__ import annotations

import os
import sys
from importlib import metadata

from images import matrix
from images.building import lock
from images.errors import Stop

_IMPORTED = ("jinja2", "pip", "pydantic", "transformers")  # what fetch and format import or start


def image() -> str:
    """Name of the image that this process runs in, or ""."""
    return os.environ.get("PINTUNE_IMAGE", "")


def inside(flavor: str) -> str:
    """Name of the image that this process runs in.

    Raises:
        Stop: its flavor or its lock is not the checkout's.
    """
    image, made_in, made_of = (os.environ.get(name, "") for name in ("PINTUNE_IMAGE", "PINTUNE_FLAVOR", "PINTUNE_LOCK"))
    rebuild = f"on the host: invoke build --image {image} --flavor {flavor}; a devcontainer: rebuild it"
    if made_in != flavor:
        raise Stop(f"an image of the flavor {flavor}", f"one of {made_in}", f"inside the image {image}", rebuild)
    lock.read(lock.row(image, flavor))
    wanted = lock.sha256(matrix.lock_file(image, flavor))
    if made_of != wanted:
        raise Stop(
            f"the image of this checkout's lock, {wanted[:12]}",
            f"one of {made_of[:12]}",
            f"inside the image {image}",
            rebuild,
        )
    return f"{image} {flavor}"


def need_packages(row: lock.Row) -> None:
    """Print which of the packages that prepare data have another version here than in a lock.

    Raises:
        Stop: a package is missing.
    """
    locked = {pin.name: pin.version for pin in lock.read(row) if pin.name in _IMPORTED}
    found = {}
    for name in locked:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pinned = " ".join(f"'{each}=={version}'" for each, version in locked.items())
            raise Stop(
                "the packages that prepare data: " + ", ".join(locked),
                f"no {name}",
                sys.executable,
                f"{sys.executable} -m pip install {pinned}; or --runner venv, or --runner docker",
            ) from None
    if others := [f"{name} {found[name]}, locked {locked[name]}" for name in locked if found[name] != locked[name]]:
        print(f"here   other versions than the lock's: {'; '.join(others)}", flush=True)
