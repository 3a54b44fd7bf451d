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
from images.building import wheelhouse
from images.running import user_files, venv

_IDLE = 3600  # seconds without a change after which nothing writes to a folder any more
_STAGING = re.compile(r"\.(?P<name>.+)\.staging-[0-9a-f]{8}")  # pipeline/files.py
_DOWNLOAD = re.compile(r"\..+\.[0-9a-f]{12}")  # pipeline/models/hub.py
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
    made = [*_environments(root), *_caches(root), *_answers(root), *_staging(root), *_formatted(root), *_models(root)]
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
    for path in sorted((root / "models" / ".tools").glob("gguf-*")):  # pipeline/data/converter.py
        if not any(each.is_symlink() for each in (path, path.parent, path.parent.parent)) and _idle(path):
            yield _leftover("converter", path, "invoke fetch --format gguf")


def _answers(root: Path) -> Iterator[Leftover]:
    for path in sorted(root.glob("runs/*/.answers-base-*.jsonl")):  # pipeline/evaluation/evaluate.py
        if not path.parent.is_symlink():
            yield _leftover("answers of the base model", path, "invoke evaluate")


def _staging(root: Path) -> Iterator[Leftover]:
    for name in user_files.FOLDERS:
        for path in _staged(root / name):
            if _idle(path) and not _is_locked(path / ".lock"):
                yield _leftover("left by a killed step", path, "-")
    for path in sorted((root / "models").glob("*")):
        scratch = _DOWNLOAD.fullmatch(path.name) or _SCRATCH.fullmatch(path.name)
        if scratch and path.is_dir() and not (path / "config.json").exists() and _idle(path):
            yield _leftover("left by a killed step", path, "invoke fetch")


def _staged(folder: Path) -> Iterator[Path]:
    """Staging folders of atomic writes; nothing inside of these, and nothing behind a link."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_symlink() or not path.is_dir():
            continue
        if match := _STAGING.fullmatch(path.name):
            # what was moved away for its replacement is the only one until that is there
            if not (path / ".old").exists() or (path.parent / match["name"]).exists():
                yield path
        else:
            yield from _staged(path)


def _formatted(root: Path) -> Iterator[Leftover]:
    """Formatted data of raw splits that are there as they were."""
    for report in sorted(root.glob("data/*/*/report.json")):
        path = report.parent
        if not any(each.is_symlink() for each in (path, path.parent)) and path.name != "raw" and _is_made_of(report):
            yield _leftover("formatted data", path, "invoke data")


def _is_made_of(report: Path) -> bool:
    try:
        made_of = json.loads(report.read_text(encoding="utf-8"))["made_of"]
        splits = {name.removeprefix("raw "): wanted for name, wanted in made_of.items() if name.startswith("raw ")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    raw = report.parent.parent / "raw"
    return bool(splits) and all(
        any(
            file.is_file() and wheelhouse.sha256(file) == wanted
            for file in (raw / f"{name}.json", raw / f"{name}.jsonl")
        )
        for name, wanted in splits.items()
    )


def _models(root: Path) -> Iterator[Leftover]:
    """Models as fetch recorded them, of a source that this checkout's pipeline names, and unchanged since."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in sorted((root / "pipeline").rglob("*.py")))
    for record in sorted(root.glob("models/*/pintune.json")):
        try:
            made = json.loads(record.read_text(encoding="utf-8"))
            source, files = str(made["source"]), dict(made["files"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        folder = record.parent
        there = {str(path.relative_to(folder)): path for path in folder.rglob("*") if not path.is_dir()}
        there.pop(record.name)
        named = all(part in code for part in source.removeprefix("random weights, ").split("@"))
        if not named or folder.name.startswith(".") or folder.is_symlink() or there.keys() != files.keys():
            continue
        if all(wheelhouse.sha256(path) == files[name] for name, path in there.items()):
            yield _leftover("model", folder, "invoke fetch")


def _runs(root: Path) -> Iterator[Leftover]:
    for path in sorted(root.glob("runs/*/[0-9]*")):
        linked = path.is_symlink() or path.parent.is_symlink()
        if path.is_dir() and not linked and not is_training(path):
            yield _leftover("run", path, "never")
            curves = path.parent / "tensorboard" / path.name  # pipeline/training/callbacks/tensorboard.py
            if curves.is_dir():
                yield _leftover("curves of a run", curves, "never")


def is_training(run: Path) -> bool:
    """Whether a process trains in a run's folder (pipeline/runs/store.py, lock)."""
    return _is_locked(run / "unfinished.json")


def _is_locked(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8") as mark:
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
