"""What the verbs made on disk and can make again: found, never removed here.

A model of one's own, raw data and release archives are never among them, and a run only where it is asked for.
"""

from __future__ import annotations

import fcntl
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from images import matrix
from images.running import user_files, venv

_IDLE = 3600  # seconds without a change after which nothing writes to a folder any more
_STAGING = re.compile(r"\.(?P<name>.+)\.(\d+|[0-9a-f]{12})(?P<old>\.old)?")  # pipeline/files.py, pipeline/models/hub.py
_SCRATCH = re.compile(r"tmp[a-z0-9_]{8}")  # Python's tempfile


@dataclass(frozen=True)
class Leftover:
    """A file or folder that may go."""

    kind: str
    path: Path
    size: int  # bytes
    back: str  # what brings it back


def found(root: Path, runs: bool) -> list[Leftover]:
    """Everything that may go, with `runs` the runs too."""
    made = [*_environments(root), *_caches(root), *_staging(root), *_formatted(root), *_models(root)]
    return made + (list(_runs(root)) if runs else [])


def _environments(root: Path) -> Iterator[Leftover]:
    known = matrix.load()
    current = {venv.folder(image.name, flavor).name for image in known.images.values() for flavor in image.flavors}
    folder = root / ".pintune" / "venv"
    for path in [] if folder.is_symlink() else sorted(folder.glob("*")):  # a link leads to another checkout's
        if path.name not in current and path.is_dir() and _idle(path):
            yield _leftover("environment of other locks", path, "-")


def _caches(root: Path) -> Iterator[Leftover]:
    for name, back in (("wheelhouse", "invoke build"), ("secrets", "the next dry call"), ("site", "invoke docs")):
        if (path := root / ".pintune" / name).is_dir() and not path.is_symlink():
            yield _leftover("cache", path, back)


def _staging(root: Path) -> Iterator[Leftover]:
    for name in user_files.FOLDERS:
        for path in _staged(root / name):
            if _idle(path):
                yield _leftover("left by a killed step", path, "invoke fetch" if name == "models" else "-")


def _staged(folder: Path) -> Iterator[Path]:
    """Staging files and folders of atomic writes, and scratch folders; nothing inside of these."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _STAGING.fullmatch(path.name)
        # what was moved away for its replacement is the only one until that is there
        kept = bool(match and match["old"] and not (path.parent / match["name"]).exists())
        if (match and not kept) or (_SCRATCH.fullmatch(path.name) and folder.name == "models"):
            yield path
        elif path.is_dir() and not path.is_symlink() and not match:
            yield from _staged(path)


def _formatted(root: Path) -> Iterator[Leftover]:
    for report in sorted(root.glob("data/*/*/report.json")):
        path = report.parent
        if path.name != "raw" and not path.name.startswith(".") and any((path.parent / "raw").glob("*.json*")):
            yield _leftover("formatted data", path, "invoke data")


def _models(root: Path) -> Iterator[Leftover]:
    """Models as fetch recorded them, of a source that this checkout's pipeline names, and unchanged since."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted((root / "pipeline").rglob("*.py")))
    for record in sorted(root.glob("models/*/pintune.json")):
        try:
            made = json.loads(record.read_text(encoding="utf-8"))
            source, files = str(made["source"]), set(made["files"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        folder, written = record.parent, record.stat().st_mtime
        there = {str(path.relative_to(folder)): path for path in folder.rglob("*") if not path.is_dir()}
        there.pop(record.name)
        unchanged = set(there) == files and all(path.stat().st_mtime <= written for path in there.values())
        named = all(part in code for part in source.removeprefix("random weights, ").split("@"))
        if unchanged and named and not record.parent.name.startswith(".") and not folder.is_symlink():
            yield _leftover("model", folder, "invoke fetch")


def _runs(root: Path) -> Iterator[Leftover]:
    for path in sorted(root.glob("runs/*/[0-9]*")):
        if path.is_dir() and not path.is_symlink() and not is_training(path):
            yield _leftover("run", path, "never")
            curves = path.parent / "tensorboard" / path.name  # pipeline/training/callbacks/tensorboard.py
            if curves.is_dir():
                yield _leftover("curves of a run", curves, "never")


def is_training(run: Path) -> bool:
    """Whether a process trains in a run's folder (pipeline/runs/store.py, lock)."""
    try:
        with (run / "unfinished.json").open(encoding="utf-8") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _leftover(kind: str, path: Path, back: str) -> Leftover:
    return Leftover(kind, path, _size(path), back)


def _size(path: Path) -> int:
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(each.lstat().st_size for each in path.rglob("*") if not each.is_dir() or each.is_symlink())


def _idle(path: Path) -> bool:
    """Whether nothing in a file or folder has changed for an hour."""
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
    newest: float = max(each.lstat().st_mtime for each in (path, *inside))
    return time.time() - newest > _IDLE
