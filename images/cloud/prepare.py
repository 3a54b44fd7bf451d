"""Prints the verb that brings the training image to this machine: `python -m images.cloud.prepare`, on the VM."""

from __future__ import annotations

import os

from images.building import build, registry


def verb(image: str, flavor: str) -> str:
    """`pull` if a release of this very source is recorded, else `build`."""
    known = registry.released(image, flavor)
    return "pull" if known and known["source"] == build.source_hash(image, flavor) else "build"


if __name__ == "__main__":
    print(verb("train", os.environ["PINTUNE_FLAVOR"]))
