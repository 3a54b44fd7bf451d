"""Checkpoints: written to the side, sealed with the hash of every file, renamed; and which of them a run goes on from."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from pipeline import distributed
from pipeline.errors import OwnStop
from pipeline.files import synced, tree_sha256, write_json, write_text

_SEAL = "sealed.json"
_ASIDE = ".aside"
_LINES = "metrics.jsonl"


def aside(checkpoints: Path) -> Path:
    """The folder in which a checkpoint-N is written before it counts."""
    return checkpoints / _ASIDE


def clear(checkpoints: Path) -> None:
    """Remove what a run that was killed while it wrote has left."""
    shutil.rmtree(aside(checkpoints), ignore_errors=True)


@contextlib.contextmanager
def room_for(folder: Path, what: str = "a checkpoint") -> Iterator[None]:
    """Turns a write that failed into a message.

    Args:
        folder: where it is written.
        what: it is, in a few words.

    Raises:
        Stop: the disk is full, or the write failed for another reason.
    """
    try:
        yield
    except (
        OSError,
        SafetensorError,
        RuntimeError,
    ) as error:  # torch.save and safetensors have their own kinds for a full disk
        lost = distributed.count() > 1 and distributed.of_connection(
            error
        )  # the others hand over their parts of a model that is spread
        of_torch = isinstance(error, RuntimeError) and not any(
            mark in str(error) for mark in ("PytorchStreamWriter", "inline_container", "unexpected pos")
        )
        if lost or of_torch:
            raise
        shown = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        free = shutil.disk_usage(folder.parent).free / 2**20
        raise OwnStop(
            f"{what} on disk",
            f"{shown} ({free:,.0f} MiB free)",
            str(folder),
            "free some disk space (old runs are under runs/), then invoke train --resume",
        ) from None


def place(checkpoints: Path, step: int, kept: int) -> None:
    """Make the checkpoint that lies aside count, with the run's lines so far in it, and remove all but the newest `kept` up to it."""
    name = f"checkpoint-{step}"
    made, target, lines = aside(checkpoints) / name, checkpoints / name, checkpoints.parent / _LINES
    with room_for(checkpoints):
        if lines.exists():  # the lowest held-out loss is among them
            shutil.copyfile(lines, made / _LINES)
        write_json(made / _SEAL, tree_sha256(made))
        synced(made)
    shutil.rmtree(target, ignore_errors=True)  # one that was not whole, or this run would have gone on from it
    made.rename(target)
    clear(checkpoints)
    synced(checkpoints, deep=False)
    found = {int(path.name.rpartition("-")[2]): path for path in _newest_first(checkpoints)}
    stay = sorted(number for number in found if number <= step)[
        -kept:
    ]  # a later one was not whole, or it would have been gone on from
    for number, path in found.items():
        if number not in stay:
            shutil.rmtree(path)


def restore(checkpoint: Path, run: Path) -> None:
    """Give a run the lines that its checkpoint has: those of its own file may not have reached the disk."""
    kept = checkpoint / _LINES
    if kept.exists():
        write_text(run / _LINES, kept.read_text(encoding="utf-8"))


def newest_checkpoint(run: Path) -> tuple[Path | None, list[Path]]:
    """The newest whole checkpoint of a run, or None, and the newer ones that are not whole (half written, or changed since)."""
    broken: list[Path] = []
    for folder in _newest_first(run / "checkpoints"):
        seal = folder / _SEAL
        hashes = tree_sha256(folder)
        hashes.pop(_SEAL, None)
        with contextlib.suppress(OSError, ValueError):
            if json.loads(seal.read_text(encoding="utf-8")) == hashes:
                return folder, broken
        broken.append(folder)
    return None, broken


def _newest_first(checkpoints: Path) -> list[Path]:
    found = [path for path in checkpoints.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
