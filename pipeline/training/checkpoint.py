"""Checkpoints: staged, sealed with the hash of every file, published by a rename; and which one a run resumes from.

A run's checkpoints/ holds checkpoint-N folders, each with sealed.json, and while one is written .staging/checkpoint-N.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from pipeline import distributed
from pipeline.errors import OwnStop, one_line
from pipeline.files import fsync_tree, sha256, tree_sha256, write_json, write_text

_SEAL = "sealed.json"
_STAGING = ".staging"
_METRICS = "metrics.jsonl"
_TORCH_WRITE_ERRORS = ("PytorchStreamWriter", "inline_container", "unexpected pos")  # torch.save's own for a full disk


def folder(run: Path) -> Path:
    """The folder of a run's checkpoints."""
    return run / "checkpoints"


def staging_folder(checkpoints: Path) -> Path:
    """The folder in which a checkpoint-N is written before it is published."""
    return checkpoints / _STAGING


def remove_staging(checkpoints: Path) -> None:
    """Remove what a killed or failed save has left."""
    shutil.rmtree(staging_folder(checkpoints), ignore_errors=True)


@contextlib.contextmanager
def reporting_disk_errors(path: Path, what: str = "a checkpoint") -> Iterator[None]:
    """Turn a failed write into a message.

    Args:
        path: what is written.
        what: its name in the message.

    Raises:
        Stop: the disk is full, or the write failed for another reason.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if not _is_disk_error(error):
            raise
        free = shutil.disk_usage(path.parent).free / 2**20
        found = f"{one_line(error)} ({free:,.0f} MiB free)"
        todo = "free some disk space (old runs are under runs/), then invoke train --resume"
        raise OwnStop(f"{what} on disk", found, str(path), todo) from None


@contextlib.contextmanager
def reporting_failed_saves(checkpoints: Path) -> Iterator[None]:
    """As `reporting_disk_errors`, for an error while a checkpoint is being written; removes what was written of it."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if not any(staging_folder(checkpoints).glob("*")):
            raise
        try:
            with reporting_disk_errors(checkpoints):
                raise error
        finally:
            if distributed.rank() == 0:
                remove_staging(checkpoints)  # published checkpoints stay


def _is_disk_error(error: Exception) -> bool:
    if distributed.world_size() > 1 and distributed.is_connection_error(error):
        return False  # another rank is lost, whose part of a sharded model was to be gathered
    return not isinstance(error, RuntimeError) or any(mark in str(error) for mark in _TORCH_WRITE_ERRORS)


def publish(checkpoints: Path, step: int, kept: int) -> None:
    """Seal and rename the staged checkpoint of a step, with the run's metrics, and keep only the newest `kept`."""
    name = f"checkpoint-{step}"
    staged, target, metrics = staging_folder(checkpoints) / name, checkpoints / name, checkpoints.parent / _METRICS
    with reporting_disk_errors(checkpoints):
        if metrics.exists():  # the lowest validation loss is in it
            shutil.copyfile(metrics, staged / _METRICS)
        write_json(staged / _SEAL, tree_sha256(staged))
        fsync_tree(staged)
    if target.exists():  # not intact, or this run would have resumed from it
        set_aside(target)
    staged.rename(target)
    remove_staging(checkpoints)
    fsync_tree(checkpoints, deep=False)
    found = {int(path.name.rpartition("-")[2]): path for path in _newest_first(checkpoints)}
    stay = sorted(number for number in found if number <= step)[-kept:]  # a later one is not intact either
    for number, path in found.items():
        if number not in stay:
            shutil.rmtree(path)


def restore_metrics(checkpoint: Path, run: Path) -> None:
    """Give a run the metrics of its checkpoint: lines of its own file may not have reached the disk."""
    saved = checkpoint / _METRICS
    if saved.exists():
        write_text(run / _METRICS, saved.read_text(encoding="utf-8"))


def newest_intact(run: Path) -> tuple[Path | None, list[Path]]:
    """The newest intact checkpoint of a run, or None, and the newer corrupt ones (half written, or changed since).

    A checkpoint is intact if every sealed file has its hash; other files in its folder do not matter.
    """
    corrupt: list[Path] = []
    for path in _newest_first(folder(run)):
        if _is_intact(path):
            return path, corrupt
        corrupt.append(path)
    return None, corrupt


def set_aside(checkpoint: Path) -> Path:
    """Rename a corrupt checkpoint, so that a resumed run neither takes nor replaces it; returns its new path."""
    target = checkpoint.with_name(f"corrupt-{checkpoint.name}")
    while target.exists():
        target = target.with_name(f"corrupt-{target.name}")
    return checkpoint.rename(target)


def _is_intact(checkpoint: Path) -> bool:
    try:
        sealed = json.loads((checkpoint / _SEAL).read_text(encoding="utf-8"))
        return bool(sealed) and all(sha256(checkpoint / name) == value for name, value in sealed.items())
    except (OSError, ValueError, AttributeError):
        return False


def _newest_first(checkpoints: Path) -> list[Path]:
    found = [path for path in checkpoints.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
