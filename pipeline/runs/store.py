"""Run folders: runs/RECIPE/ID/, and `latest`, which points to the newest finished one.

A run is unfinished while it holds `unfinished`, half there when it has no manifest either.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import IO, Any

from pipeline import job
from pipeline.errors import Stop
from pipeline.files import new_folder, write_json
from pipeline.recipe import Recipe, as_values

MANIFEST = "manifest.json"
UNFINISHED = "unfinished.json"


def create(recipe: Recipe, started: dict[str, Any]) -> Path:
    """A new run folder, its ID the time in UTC and a hash of the recipe; records that and what it is `started` with, so that a resume can compare."""
    values = as_values(recipe)
    mark = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:6]
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    run = job.runs(recipe.name) / f"{stamp}-{mark}"
    if run.exists():
        raise Stop("a run folder of its own", "one of the same second", str(run), "run the same command again")
    try:
        with new_folder(run) as aside:  # there is no run without its mark, whenever it is killed
            write_json(aside / UNFINISHED, {"recipe": values, **started})
    except OSError as error:
        raise Stop(
            "a runs/ folder that can be written", str(error), str(run.parent), "check its owner and the free disk space"
        ) from None
    return run


def hold(run: Path) -> IO[str]:
    """Keep others from training in this folder while the file that this returns is open, which it is no more when the process is killed.

    Raises:
        Stop: another process trains in it.
    """
    mark = (run / UNFINISHED).open(encoding="utf-8")
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        mark.close()
        raise Stop(
            "an unfinished run that nobody works on",
            "one that another process is training",
            str(run),
            "wait for its end, or stop that process",
        ) from None
    return mark


def begun(run: Path) -> bool:
    """Whether a run has made a step, or is one to go on with."""
    metrics = run / "metrics.jsonl"
    return any(run.glob("checkpoints/checkpoint-*")) or (metrics.exists() and metrics.stat().st_size > 0)


def finish(run: Path, manifest: dict[str, Any], newest: bool = True) -> None:
    """Write the manifest, with `newest` point `latest` here, and drop the mark; in this order, so that `latest` is never half there."""
    write_json(run / MANIFEST, manifest)
    if newest:
        point_to(run)
    (run / UNFINISHED).unlink()


def point_to(run: Path) -> None:
    """Make `latest` name this run."""
    aside = run.parent / f".latest.{os.getpid()}"
    aside.unlink(missing_ok=True)
    aside.symlink_to(run.name)
    aside.replace(run.parent / "latest")


def unfinished(recipe: Recipe) -> tuple[Path, dict[str, Any]]:
    """The newest unfinished run of just this recipe, else of its name, and the recipe values and input hashes it was started with.

    Raises:
        Stop: there is none, or its mark cannot be read.
    """
    marks = [mark for mark in _marks(recipe) if not (mark.parent / MANIFEST).exists()]
    if not marks:
        raise Stop("an unfinished run to resume", "none", str(job.runs(recipe.name)), "invoke train")
    mark = next(iter(_of_just(recipe, marks)), marks[-1])
    started = _read(mark)
    if not {"recipe", "inputs"} <= started.keys():
        raise Stop(
            "the recipe and inputs that the run was started with",
            str(started)[:80],
            str(mark),
            f"delete {mark.parent}, then invoke train",
        )
    return mark.parent, started


def _marks(recipe: Recipe) -> list[Path]:
    return sorted(job.runs(recipe.name).glob(f"[0-9]*/{UNFINISHED}"))


def _of_just(recipe: Recipe, marks: list[Path]) -> list[Path]:
    """Those of runs of the same values, the newest first."""
    own = json.loads(json.dumps(as_values(recipe)))
    return [mark for mark in reversed(marks) if _read(mark).get("recipe") == own]


def finished_already(recipe: Recipe) -> tuple[Path, dict[str, Any]] | None:
    """The newest run of just this recipe with a mark, and its manifest, if it was killed between the two: it is whole, and counts as such now."""
    newest = next(iter(_of_just(recipe, _marks(recipe))), None)
    if newest is None or not (newest.parent / MANIFEST).exists():
        return None
    run, link = newest.parent, job.runs(recipe.name) / "latest"
    if not link.is_symlink() or link.readlink().name <= run.name:
        point_to(run)
    newest.unlink()
    return _whole(run)


def _read(path: Path) -> dict[str, Any]:
    """A file's JSON object; what is wrong with it under "error"."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return {"error": str(error)}
    return found if isinstance(found, dict) else {"error": str(found)[:80]}


def named(name: str) -> tuple[Path, dict[str, Any]]:
    """The finished run RECIPE/ID, also written with runs/ before it, and its manifest.

    Raises:
        Stop: as `latest`.
    """
    run = Path("runs") / name.removeprefix("./").removeprefix("runs/").strip("/")
    if not run.is_dir() or len(run.parts) != 3:
        there = sorted(
            f"{path.parent.parent.name}/{path.parent.name}" for path in Path("runs").glob(f"*/[0-9]*/{MANIFEST}")
        )
        raise Stop(
            "a run, as RECIPE/ID",
            f"{name!r}; there are {', '.join(there[-3:]) or 'none'}",
            "runs/",
            "invoke runs lists them",
        )
    return _whole(run.resolve().relative_to(Path.cwd()) if run.is_symlink() else run)


def latest(recipe: Recipe) -> tuple[Path, dict[str, Any]]:
    """The newest finished run of a recipe and its manifest.

    Raises:
        Stop: there is none, or it is only half there; says what is missing and what to do.
    """
    link = job.runs(recipe.name) / "latest"
    if not link.is_symlink():
        half = sorted(job.runs(recipe.name).glob(f"*/{UNFINISHED}"))
        found = f"only an unfinished run: {half[-1].parent.name}" if half else "no run"
        raise Stop(
            f"a trained run of {recipe.name}", found, str(link), "invoke train --resume" if half else "invoke train"
        )
    return _whole(link.parent / link.readlink())


def _whole(run: Path) -> tuple[Path, dict[str, Any]]:
    needed = (MANIFEST, "adapter/adapter_model.safetensors", "adapter/adapter_config.json")
    lacking = [name for name in needed if not (run / name).exists()]
    if lacking:
        todo = (
            "invoke train --resume"
            if (run / UNFINISHED).exists() and MANIFEST in lacking
            else f"delete {run}, then invoke train"
        )
        raise Stop("a whole run: " + ", ".join(needed), f"{', '.join(lacking)} missing", str(run), todo)
    manifest = _read(run / MANIFEST)
    if not {"recipe", "inputs", "outputs"} <= manifest.keys():
        raise Stop(
            "a manifest with recipe, inputs and outputs",
            str(manifest)[:80],
            str(run / MANIFEST),
            f"delete {run}, then invoke train",
        )
    return run, manifest
