"""The caller's own files that a step reads: their names in it, and their mounts in a container.

A file keeps its path in a container, relative to the checkout if it is inside, so that a message names it as the caller
does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from images import matrix
from images.errors import Stop
from images.running.container import Mount

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WORKDIR = PurePosixPath("/pintune")  # a step's working directory in a container, as the checkout is on the host
FOLDERS = ("data", "models", "runs")  # mounted for every step


@dataclass(frozen=True)
class UserFile:
    """A file of the caller's."""

    path: Path  # on the host
    name: str  # as a step calls it: relative to the checkout where it is inside it, else absolute


def of(path: Path) -> UserFile:
    """The file at `path`, which need not exist."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - a link such as runs/RECIPE/latest keeps its name
    inside = absolute.is_relative_to(matrix.ROOT)
    return UserFile(path, str(absolute.relative_to(matrix.ROOT) if inside else absolute))


def existing(path: str, wanted: str, todo: str) -> UserFile:
    """The file at `path`.

    Raises:
        Stop: no path was given, or there is no file.
    """
    if not Path(path).is_file():
        raise Stop(wanted, "no such file" if path else "none given", path or "the command line", todo)
    return of(Path(path))


def mounts(files: Iterable[UserFile]) -> list[Mount]:
    """The mounts that bring files into a container, except for those inside data/, models/ and runs/."""
    made = {}
    for file in files:
        name, path = PurePosixPath(file.name), file.path.resolve()
        folder = matrix.ROOT / name.parts[0]
        if not (name.parts[0] in FOLDERS and path.is_relative_to(folder.resolve())):
            made[str(WORKDIR / name)] = Mount(path, str(WORKDIR / name))
    return list(made.values())


def data_file(recipe: str, overrides: Sequence[str]) -> UserFile | None:
    """The file or folder that data.source names: in the last override of it, else in the caller's recipe file."""
    sources = [
        value.strip().strip("\"'")
        for key, _, value in (each.partition("=") for each in overrides)
        if key.strip() == "data.source"
    ]
    if not sources and recipe.endswith(".toml"):
        try:
            sources = [str(tomllib.loads(Path(recipe).read_text(encoding="utf-8-sig"))["data"]["source"])]
        except (OSError, ValueError, KeyError, TypeError):
            return None  # the pipeline reports what is wrong with it
    return of(Path(sources[-1])) if sources and is_path(sources[-1]) else None


def is_path(source: str) -> bool:
    """Whether data.source is a path rather than a source's name, by the rule of pipeline/sources.py."""
    return bool(Path(source).suffix or Path(source).name != source)
