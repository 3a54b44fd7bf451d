"""Run folders: runs/RECIPE/ID/, and the link `latest` to the newest finished one.

A run is unfinished while it holds unfinished.json, which says what it was started with; manifest.json is written at its
end.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pipeline.errors import Stop
from pipeline.files import atomic_folder, atomic_link, write_json
from pipeline.runs import process

MANIFEST = "manifest.json"
UNFINISHED = "unfinished.json"
_SECTIONS = ("recipe", "inputs", "outputs", "training", "environment")  # of a complete manifest


def create(runs: Path, recipe: dict[str, Any], started: dict[str, Any]) -> Path:
    """A new run folder under `runs`. Its ID is the time in UTC and a hash of the recipe's values, and a number if that
    is taken.

    Args:
        started: what else the run is started with, which a resume compares.
    """
    for run in _names(runs, recipe):
        try:
            with atomic_folder(run, replace=False) as staging:  # no run exists without unfinished.json, even if killed
                write_json(staging / UNFINISHED, {"recipe": recipe, **started})
            return run
        except FileExistsError:  # of the same second
            continue
        except OSError as error:
            todo = "check its owner and the free disk space"
            raise Stop("a runs/ folder that can be written", str(error), str(runs), todo) from None
    raise AssertionError("names never end")


@contextlib.contextmanager
def whole(runs: Path, recipe: dict[str, Any]) -> Iterator[Path]:
    """The staging folder of a new run that is finished when the block succeeds, and becomes `latest`; else none is
    left. Its name is the run's."""
    run = next(each for each in _names(runs, recipe) if not each.exists())
    with atomic_folder(run, replace=False) as staging:
        yield staging
    set_latest(run)


def _names(runs: Path, recipe: dict[str, Any]) -> Iterator[Path]:
    """The folders that a new run may have, in order."""
    mark = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:6]
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    yield runs / f"{stamp}-{mark}"
    yield from (runs / f"{stamp}-{mark}-{number}" for number in itertools.count(2))


def lock(run: Path) -> IO[str]:
    """Keep other processes from training in this folder while the returned file is open; a kill releases the lock.

    Raises:
        Stop: another process trains in it.
    """
    mark = (run / UNFINISHED).open(encoding="utf-8")
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        mark.close()
        wanted, todo = "an unfinished run that no process works on", "wait for its end, or stop that process"
        raise Stop(wanted, "one that another process is training", str(run), todo) from None
    process.record(run)
    return mark


def has_steps(run: Path) -> bool:
    """Whether a run has made a step or saved a checkpoint, so that it can be resumed or looked at."""
    metrics = run / "metrics.jsonl"
    return any(run.glob("checkpoints/*checkpoint-*")) or (metrics.exists() and metrics.stat().st_size > 0)


def finish(run: Path, manifest: dict[str, Any], newest: bool = True) -> None:
    """Write the manifest, with `newest` set `latest`, then remove unfinished.json: `latest` is always complete."""
    write_json(run / MANIFEST, manifest)
    if newest:
        set_latest(run)
    process.forget(run)
    (run / UNFINISHED).unlink()


def set_latest(run: Path) -> None:
    """Make `latest` name this run, atomically."""
    atomic_link(run.parent / "latest", run.name)


def unfinished(runs: Path, recipe: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The newest unfinished run with exactly these recipe values, else the newest of all, and what it was started with.

    Raises:
        Stop: there is none, or its unfinished.json cannot be read.
    """
    marks = [mark for mark in _marks(runs) if not (mark.parent / MANIFEST).exists()]
    if not marks:
        raise Stop("an unfinished run to resume", "none", str(runs), "invoke train")
    mark = next(iter(_with_recipe(recipe, marks)), marks[-1])
    started = _read(mark)
    if not {"recipe", "inputs"} <= started.keys():
        wanted, todo = (
            "the recipe and inputs that the run was started with",
            "fix that file, or start anew: invoke train",
        )
        raise Stop(wanted, str(started)[:80], str(mark), todo)
    return mark.parent, started


def is_unfinished(runs: Path, recipe: dict[str, Any]) -> bool:
    """Whether there is an unfinished run with exactly these recipe values."""
    return any(not (mark.parent / MANIFEST).exists() for mark in _with_recipe(recipe, _marks(runs)))


def finished_already(runs: Path, recipe: dict[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """The newest run of these recipe values, if it was killed between manifest and unfinished.json: it is complete."""
    newest = next(iter(_with_recipe(recipe, _marks(runs))), None)
    if newest is None or not (newest.parent / MANIFEST).exists():
        return None
    run, link = newest.parent, runs / "latest"
    if not link.is_symlink() or link.readlink().name <= run.name:
        set_latest(run)
    newest.unlink()
    return _complete(run)


def named(runs: Path, name: str) -> tuple[Path, dict[str, Any]]:
    """The finished run RECIPE/ID, also written with runs/ before it, and its manifest.

    Args:
        runs: the folder of the runs of all recipes.

    Raises:
        Stop: as `latest`.
    """
    run = runs / name.removeprefix("./").removeprefix("runs/").strip("/")
    if not run.is_dir() or run.parent.parent != runs:
        existing = sorted(f"{path.parent.parent.name}/{path.parent.name}" for path in runs.glob(f"*/[0-9]*/{MANIFEST}"))
        found = f"{name!r}; there are {', '.join(existing[-3:]) or 'none'}"
        raise Stop("a run, as RECIPE/ID", found, f"{runs}/", "invoke runs lists them")
    return _complete(run.parent / run.readlink().name if run.is_symlink() else run)


def latest(runs: Path) -> tuple[Path, dict[str, Any]]:
    """The newest finished run of a recipe and its manifest.

    Raises:
        Stop: there is none, or it is incomplete.
    """
    link = runs / "latest"
    if not link.is_symlink():
        begun = sorted(runs.glob(f"*/{UNFINISHED}"))
        found = f"only an unfinished run: {begun[-1].parent.name}" if begun else "no run"
        todo = "invoke train --resume" if begun else "invoke train"
        raise Stop(f"a trained run of {runs.name}", found, str(link), todo)
    return _complete(link.parent / link.readlink())


def merged_model(runs: Path) -> tuple[Path, dict[str, Any]]:
    """The folder of the newest merged model of a recipe, and its run's manifest.

    Raises:
        Stop: there is none, or its run or its export is incomplete.
    """
    found = sorted(runs.glob("[0-9]*/merged/model*.safetensors"))
    if not found:
        raise Stop(f"a merged model of {runs.name}", "none", str(runs), "invoke export")
    merged = found[-1].parent
    _, manifest = _complete(merged.parent)
    if not isinstance(manifest.get("export"), dict):
        raise Stop(
            "a merged model of an export that ended", "one without", str(merged), "invoke export, which merges again"
        )
    return merged, manifest


def _marks(runs: Path) -> list[Path]:
    return sorted(runs.glob(f"[0-9]*/{UNFINISHED}"))


def _with_recipe(recipe: dict[str, Any], marks: list[Path]) -> list[Path]:
    """The unfinished.json files with exactly these recipe values, the newest first."""
    own = json.loads(json.dumps(recipe))
    return [mark for mark in reversed(marks) if _read(mark).get("recipe") == own]


def _read(path: Path) -> dict[str, Any]:
    """A file's JSON object, or {"error": what is wrong with it}."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return {"error": str(error)}
    return found if isinstance(found, dict) else {"error": str(found)[:80]}


def _complete(run: Path) -> tuple[Path, dict[str, Any]]:
    needed = (MANIFEST, "adapter/adapter_model.safetensors", "adapter/adapter_config.json")
    lacking = [name for name in needed if not (run / name).exists()]
    if lacking:
        resumable = (run / UNFINISHED).exists() and MANIFEST in lacking
        todo = "invoke train --resume" if resumable else "bring them back, or train a new run: invoke train"
        raise Stop("a complete run: " + ", ".join(needed), f"{', '.join(lacking)} missing", str(run), todo)
    manifest = _read(run / MANIFEST)
    if not all(isinstance(manifest.get(section), dict) for section in _SECTIONS):
        wanted = f"a manifest with {', '.join(_SECTIONS)}"
        raise Stop(wanted, str(manifest)[:80], str(run / MANIFEST), "bring it back, or train a new run: invoke train")
    return run, manifest
