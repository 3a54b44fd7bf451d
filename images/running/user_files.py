"""Files of the caller's own that a step reads: what they are called where it runs, and what brings them there.

In a container they stand where they do outside, seen from the checkout, so that a message names them as the caller knows them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from images import matrix
from images.errors import Stop
from images.running.container import Mount

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WORKPLACE = PurePosixPath("/pintune")  # the working folder of a step in a container, as the checkout is outside
FOLDERS = ("data", "models", "runs")  # that every step has


def file(path: str, wanted: str, todo: str) -> Path:
    """The file at `path`.

    Raises:
        Stop: there is none.
    """
    if not Path(path).is_file():
        raise Stop(wanted, "no such file" if path else "none given", path or "the command line", todo)
    return Path(path)


def name(file: Path) -> str:
    """A file as a step calls it: from the checkout where it lies in there, else from the root."""
    whole = Path(os.path.abspath(file))  # noqa: PTH100 - a link such as runs/RECIPE/latest keeps its name
    return str(whole.relative_to(matrix.ROOT) if whole.is_relative_to(matrix.ROOT) else whole)


def mounts(files: Sequence[Path]) -> list[Mount]:
    """What brings files into a container; those in data/, models/ and runs/ are there already."""
    made = {}
    for file in files:
        called = PurePosixPath(name(file))
        folder = matrix.ROOT / called.parts[0]
        if not (called.parts[0] in FOLDERS and file.resolve().is_relative_to(folder.resolve())):
            made[str(WORKPLACE / called)] = Mount(file.resolve(), str(WORKPLACE / called))
    return list(made.values())


def data_file(recipe: str, overrides: Sequence[str]) -> Path | None:
    """The file that data.source names, if it names one: in the last override of it, else in a recipe of the caller's."""
    named = [
        value.strip().strip("\"'")
        for key, _, value in (each.partition("=") for each in overrides)
        if key.strip() == "data.source"
    ]
    if not named and recipe.endswith(".toml"):
        try:
            named = [str(tomllib.loads(Path(recipe).read_text(encoding="utf-8"))["data"]["source"])]
        except (OSError, ValueError, KeyError, TypeError):
            return None  # the pipeline says what is wrong with it
    return Path(named[-1]) if named and named[-1].endswith((".json", ".jsonl")) else None
