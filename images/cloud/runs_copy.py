"""Copies runs to a container of blobs and back: `python -m images.cloud.runs_copy save|restore URL CONTAINER`.

It runs on the VM, in the environment of images/cloud/runs-copy.txt, from the checkout (as a module: in its own folder
azure.py would hide the package azure). A blob appears when its last
block is committed, so a file is copied whole or not at all; a checkpoint of which only some files were copied does not
match its seal, and a resume takes the one before it. Nothing is ever removed, here or there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

RUNS = Path("runs")
STAGED = ".restoring"  # ends the name of a file that is being restored; in a run that is, a file of this name


def save(container: Any, folder: Path) -> int:
    """Upload each file that the container lacks, or has with another size or an earlier time; returns how many."""
    there = {blob.name: blob for blob in container.list_blobs()}
    count = 0
    for path in sorted(folder.rglob("*")):
        within = path.relative_to(folder)
        unfinished = path.name.endswith(STAGED) or any(part.startswith(".") for part in within.parts)
        if path.is_symlink() or not path.is_file() or unfinished:  # such as .staging/, which is not a checkpoint yet
            continue
        name = within.as_posix()
        try:
            seen = path.stat()
            known = there.get(name)
            if known and known.size == seen.st_size and known.last_modified.timestamp() > seen.st_mtime:
                continue
            with path.open("rb") as file:
                container.upload_blob(name, file, overwrite=True)
        except FileNotFoundError:  # renamed or removed meanwhile, as old checkpoints are
            continue
        count += 1
    return count


def restore(container: Any, folder: Path) -> int:
    """Download the runs that are not here; returns how many files. A run that is here is left as it is.

    A run whose restore was cut off has a mark, and is gone on with. `latest` is made where it is missing.
    """
    runs: dict[Path, list[str]] = {}
    for blob in container.list_blobs():
        parts = Path(blob.name).parts
        if ".." not in parts and not Path(blob.name).is_absolute() and len(parts) > 2:
            runs.setdefault(folder / parts[0] / parts[1], []).append(blob.name)
    count = 0
    for run, names in sorted(runs.items()):
        mark = run / STAGED
        if run.exists() and not mark.exists():
            continue
        run.mkdir(parents=True, exist_ok=True)
        mark.touch()
        for name in names:
            count += _download(container, name, folder / name)
        mark.unlink()
    for recipe in {run.parent for run in runs}:
        finished = sorted(path.parent.name for path in recipe.glob("*/manifest.json") if not path.parent.is_symlink())
        if finished and not (recipe / "latest").is_symlink():
            (recipe / "latest").symlink_to(finished[-1])
    return count


def _download(container: Any, name: str, path: Path) -> int:
    """Download a blob unless it is here, under another name until it is whole; returns how many files."""
    if path.exists():
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(path.name + STAGED)
    with staged.open("wb") as file:
        container.download_blob(name).readinto(file)
    staged.replace(path)
    return 1


def main(verb: str, account: str, name: str) -> None:
    """Save or restore runs/ of the working folder, as the VM's managed identity."""
    from azure.identity import ManagedIdentityCredential
    from azure.storage.blob import ContainerClient

    if local := os.environ.get("AZURE_STORAGE_CONNECTION_STRING"):  # an emulator
        container = ContainerClient.from_connection_string(local, name)
    else:
        container = ContainerClient(account, name, credential=ManagedIdentityCredential())
    with container:
        count = {"save": save, "restore": restore}[verb](container, RUNS)
    print(f"runs  {count} files {verb}d", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
