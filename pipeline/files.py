"""Atomic writes (in a staging folder beside the target, synced, then renamed), and hashes.

runs/RECIPE/ID/.merged.staging-1f3a09bc/    merged/; .lock, which its process holds; .old/, what it replaces
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_STAGING, _LOCK, _OLD = ".staging-", ".lock", ".old"  # .NAME.staging-RANDOM/ and what it holds


def write_text(path: Path, text: str) -> None:
    """Create or replace a file atomically."""
    with atomic_file(path) as staging:
        staging.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """As `write_text`, indented and with a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A staging file: synced and renamed to `path` when the block succeeds, removed when it fails."""
    with _staging(path) as folder:
        staging = folder / path.name
        yield staging
        _fsync(staging)
        staging.replace(path)
        _fsync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path, replace: bool = True) -> Iterator[Path]:
    """A staging folder: synced and renamed to `path` when the block succeeds, removed when it fails.

    With `replace` an existing `path` is replaced, but only after the block has succeeded.

    Raises:
        FileExistsError: there is a folder at `path` that is not empty, without `replace`.
    """
    with _staging(path) as folder:
        staging, old = folder / path.name, folder / _OLD
        staging.mkdir()
        yield staging
        fsync_tree(staging)
        try:
            while not _renamed(staging, path):
                if not replace:
                    raise FileExistsError(errno.EEXIST, "a folder is there already", str(path))
                shutil.rmtree(old, ignore_errors=True)
                with contextlib.suppress(FileNotFoundError):  # another process replaces it too
                    path.rename(old)
        except BaseException:
            _put_back(old, path)
            raise
        _fsync(path.parent)


def atomic_link(path: Path, target: str) -> None:
    """Create or replace a symbolic link atomically."""
    with _staging(path) as folder:
        staging = folder / path.name
        staging.symlink_to(target)
        staging.replace(path)


def _renamed(staging: Path, path: Path) -> bool:
    """Rename a folder, unless there is something at `path`."""
    try:
        staging.rename(path)
    except (FileExistsError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _put_back(old: Path, path: Path) -> None:
    """What was moved away to be replaced, if nothing has replaced it."""
    if os.path.lexists(old) and not os.path.lexists(path):
        _renamed(old, path)  # not if another process has put its own there meanwhile


@contextlib.contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """A new folder beside `path`, removed at the end; if this process is killed, by the next call in the same place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path.parent)
    folder, lock = _locked_folder(path)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _locked_folder(path: Path) -> tuple[Path, int | None]:
    """A new staging folder, and the handle that locks it; None on a file system without locks."""
    while True:
        folder = path.with_name(f".{path.name}{_STAGING}{secrets.token_hex(4)}")
        folder.mkdir()
        try:
            return folder, _lock(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # another process has taken it for abandoned, before it was locked
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                shutil.rmtree(folder, ignore_errors=True)
                raise
            return folder, None


def _lock(folder: Path) -> int:
    """A handle that locks a staging folder until it is closed: a process's ID tells nothing in another container.

    Raises:
        OSError: another process has locked or removed it, or the file system has no locks.
    """
    file = folder / _LOCK
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), file.stat()):
            raise FileNotFoundError
    except OSError:
        os.close(handle)
        raise
    return handle


def _remove_abandoned(parent: Path) -> None:
    """Remove the staging folders of processes that were killed; what one had moved away to replace it is put back."""
    for folder in parent.iterdir():
        name, found, _ = folder.name.removeprefix(".").rpartition(_STAGING)
        if not (found and folder.name.startswith(".")):
            continue
        try:
            lock = _lock(folder)
        except OSError:
            continue
        with contextlib.suppress(OSError):
            _put_back(folder / _OLD, parent / name)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


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
