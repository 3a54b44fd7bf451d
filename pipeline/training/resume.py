"""Which checkpoint a killed run goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pipeline.files import tree_sha256, write_json

_SEAL = "sealed.json"


class Seal(TrainerCallback):  # type: ignore[misc]
    """Marks a checkpoint as whole, once the Trainer has written all of it, with the hash of every file."""

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_json(folder / _SEAL, tree_sha256(folder))


def newest_checkpoint(run: Path) -> tuple[Path | None, list[Path]]:
    """The newest whole checkpoint of a run, or None, and the newer ones that are not whole (half written, or changed since)."""
    import json

    found = sorted((run / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    broken: list[Path] = []
    for folder in found:
        seal = folder / _SEAL
        hashes = tree_sha256(folder)
        hashes.pop(_SEAL, None)
        if seal.exists() and json.loads(seal.read_text(encoding="utf-8")) == hashes:
            return folder, broken
        broken.append(folder)
    return None, broken
