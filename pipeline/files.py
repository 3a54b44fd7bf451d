"""Atomic writes (to a staging path, synced, then renamed), and hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Create or replace a file atomically."""
    with atomic_file(path) as staging:
        staging.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """As `write_text`, indented and with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A staging file beside `path`: synced and renamed to `path` when the block succeeds, removed when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield staging
        _fsync(staging)
        staging.replace(path)
        _fsync(path.parent)
    finally:
        staging.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A staging folder beside `path`: synced and renamed to `path` when the block succeeds, removed when it fails.

    An existing folder at `path` is replaced only after the block has succeeded.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    try:
        yield staging
        fsync_tree(staging)
        if path.exists():
            path.rename(old)
        staging.rename(path)
        _fsync(path.parent)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(staging, ignore_errors=True)


def fsync_tree(folder: Path, deep: bool = True) -> None:
    """Sync a folder's entries to disk, with `deep` everything in it; its files become readable for all."""
    for path in folder.rglob("*") if deep else ():
        if path.is_file():
            path.chmod(0o644)  # safetensors writes for its owner alone
        _fsync(path)
    _fsync(folder)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_blob_id(path: Path) -> str:
    """The id git gives a file: SHA-1 of `blob SIZE\\0` and the content (git-hash-object(1))."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def tree_sha256(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder, by its path in it, in name order."""
    return {str(file.relative_to(folder)): sha256(file) for file in sorted(folder.rglob("*")) if file.is_file()}
