"""pintune.json of a fetched model: its origin and the hash of every file. A user's own folder has none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import Stop
from pipeline.files import sha256, tree_sha256, write_json

FILE = "pintune.json"


def write(folder: Path, **origin: Any) -> dict[str, str]:
    """Record the origin of a model and the hash of every file in its folder; returns the hashes."""
    (folder / FILE).unlink(missing_ok=True)  # of an attempt that was killed
    hashes = tree_sha256(folder)
    write_json(folder / FILE, {**origin, "files": hashes})
    return hashes


def check(folder: Path) -> str:
    """Compare a model's files with its record; returns what was found, in words.

    Raises:
        Stop: config, tokenizer or weights are missing, or a file has another hash.
    """
    lacking = [name for name in ("config.json", "tokenizer_config.json") if not (folder / name).exists()]
    if lacking or not any(folder.glob("*.safetensors")):
        wanted = "a Transformers folder with config, tokenizer and safetensors"
        raise Stop(wanted, f"a folder without {', '.join(lacking) or 'safetensors'}", str(folder), remedy(folder))
    if not (folder / FILE).exists():
        return "put there by hand"
    try:
        files = dict(json.loads((folder / FILE).read_text(encoding="utf-8"))["files"])
    except (ValueError, KeyError, TypeError):
        raise Stop("the hashes of a fetched model", "no such record", str(folder / FILE), remedy(folder)) from None
    for name, wanted in files.items():
        found = sha256(folder / name) if (folder / name).exists() else "no such file"
        if found != wanted:
            raise Stop(f"sha256 {wanted}, as fetched", found, str(folder / name), remedy(folder))
    return "every file as fetched"


def remedy(folder: Path) -> str:
    """The next command for a broken model: only what fetch can bring back may be deleted."""
    if (folder / FILE).exists():
        return f"delete {folder}, then invoke fetch"
    return f"fix the files in {folder}, which fetch did not bring, or take another model: --set model.source=NAME"
