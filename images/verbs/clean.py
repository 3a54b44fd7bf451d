"""The verb `clean`: what Pintune made on this machine and can make again, listed and removed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from images import engine
from images.engine import Stored
from images.errors import Stop, line
from images.table import aligned
from images.verbs import leftovers
from images.verbs.leftovers import Leftover

LABEL = "dev.pintune.image"
CACHED = ("sh /layers/", "pintune", "/run/secrets/pip.conf", "local source for wheelhouse", "local source for debs")


def clean(root: Path, runs: bool, yes: bool, dry: bool, label: str = LABEL, cached: Sequence[str] = CACHED) -> None:
    """List what goes, ask, remove it and say what that freed; with `dry` only list it.

    Args:
        runs: remove the runs too.
        yes: do not ask.
        label: of the images that go.
        cached: marks in the descriptions of the records of BuildKit's cache that go.

    Raises:
        Stop: there is no terminal to ask on, or something could not be removed.
    """
    found = leftovers.found(root, runs)
    images, cache = (engine.images(label), engine.build_cache(cached)) if engine.answers() else ([], [])
    if not (found or images or cache):
        print("clean  nothing to remove")
        return
    print(table(root, found, images, cache), flush=True)
    if dry:
        return
    if not yes and not _agreed(runs):
        print("clean  nothing was removed")
        return
    failed = [*_remove(found), *_remove_images(images)]
    engine.prune_cache(cache)
    for recipe in root.glob("runs/*"):  # without a run, the link to the newest one leads nowhere
        if (latest := recipe / "latest").is_symlink() and not latest.exists():
            latest.unlink()
    print(f"clean  removed {len(found) + len(images) + bool(cache) - len(failed)} of the above")
    if failed:
        raise Stop("to remove everything in the table", failed[0][1], failed[0][0], failed[0][2])


def table(root: Path, found: Sequence[Leftover], images: Sequence[Stored], cache: Sequence[Stored]) -> str:
    """What goes, how large it is, and what brings it back; largest first, with the sum."""
    rows = [(each.size, each.kind, _shown(each.path, root), each.back) for each in found]
    rows += [(each.size, "image", each.name, "invoke build, or pull") for each in images]
    if cache:
        rows.append((sum(each.size for each in cache), "build cache", f"{len(cache)} records", "invoke build"))
    rows.sort(key=lambda row: (-row[0], row[2]))
    body = [(size(number), *rest) for number, *rest in rows]
    total = size(sum(row[0] for row in rows))
    shared = " at most: images and build cache share layers" if images and cache else ""
    return f"{aligned([('size', 'what', 'where', 'comes back by'), *body])}\n{total} in all{shared}"


def size(number: int) -> str:
    """Bytes in a unit that fits."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number} B"


def _agreed(runs: bool) -> bool:
    """Whether the person at the terminal agrees.

    Raises:
        Stop: there is none.
    """
    if not sys.stdin.isatty():
        command = f"invoke clean {'--runs ' if runs else ''}--yes"
        raise Stop("a terminal to ask on, or --yes", "neither", "standard input", command)
    print("Remove all of it? [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _remove(found: Sequence[Leftover]) -> list[tuple[str, str, str]]:
    failed = []
    for each in found:
        if each.kind == "run" and leftovers.is_training(each.path):  # since it was listed
            failed.append((str(each.path), "a run that trains now", "wait for it, or leave out --runs"))
            continue
        try:
            if each.path.is_dir() and not each.path.is_symlink():
                shutil.rmtree(each.path)
            else:
                each.path.unlink()
        except OSError as error:
            failed.append((str(each.path), line(error), "check its owner, then invoke clean"))
    return failed


def _remove_images(images: Sequence[Stored]) -> list[tuple[str, str, str]]:
    failed = []
    for each in images:
        try:
            engine.remove_image(each.id)
        except Stop as stop:
            failed.append((each.name, stop.found, stop.todo))
    return failed


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root))
