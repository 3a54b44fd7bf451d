"""What only the host's checkout knows: commit, version, and the files of a commit."""

from __future__ import annotations

import copy
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

from images import matrix
from images.errors import Stop


def revision() -> tuple[str, bool]:
    """The checkout's commit ("" without a repository of its own), and whether the working tree differs from it."""
    head = _git("rev-parse", "HEAD")
    return head, bool(head) and bool(_git("status", "--porcelain"))


def version() -> str:
    """Pintune's own version."""
    found = re.search(r'^version = "(.+)"$', (matrix.ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else ""


def commit_time() -> int:
    """Time of the commit HEAD, in seconds since 1970; 0 outside a repository."""
    return int(_git("show", "-s", "--format=%ct", "HEAD") or 0)


def export(revision: str, folder: Path) -> None:
    """Unpack a commit's files into `folder`, with the same modes and times on every machine.

    Raises:
        Stop: git fails, or the commit has a link that leads out of `folder`.
    """
    done = subprocess.run(_command("archive", "--format=tar", revision), cwd=matrix.ROOT, capture_output=True)
    if done.returncode:
        raise Stop(f"the files of commit {revision[:12]}", done.stderr.decode().strip(), "git archive", "git fsck")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        unpack(tar, folder)


def unpack(tar: tarfile.TarFile, folder: Path) -> None:
    """Unpack files, folders and symbolic links that stay inside `folder`.

    tarfile's own filter "data" does this from Python 3.10.12 and 3.11.4 on; Debian 12 has 3.11.2.

    Raises:
        Stop: the archive has anything else.
    """
    tar.extraction_filter = lambda member, path: member  # _checked is the filter; older versions ignore this attribute
    tar.extractall(folder, _checked(tar, Path(os.path.realpath(folder))))


def _checked(tar: tarfile.TarFile, folder: Path) -> Iterator[tarfile.TarInfo]:
    """The members, each checked once those before it are unpacked: a link may be part of a later path."""
    for member in tar:
        path = folder / member.name
        places = [path, path.parent / member.linkname] if member.issym() else [path]
        inside = all(Path(os.path.realpath(place)).is_relative_to(folder) for place in places)
        if not inside or not (member.isreg() or member.isdir() or member.issym()):
            raise Stop(
                "files, folders and links inside the archive",
                f"{member.name} -> {member.linkname}" if member.linkname else member.name,
                "git archive",
                "remove it from the commit",
            )
        made = copy.copy(member)
        made.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644  # git archive lets the group write
        yield made


def _command(*arguments: str) -> list[str]:
    """A git command on the checkout's own repository: git would look for another one above a checkout without .git."""
    own = (f"--git-dir={matrix.ROOT / '.git'}", f"--work-tree={matrix.ROOT}")
    return ["git", "-c", f"safe.directory={matrix.ROOT}", *own, *arguments]


def _git(*arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # `git status` would rewrite the index
    try:
        done = subprocess.run(
            _command(*arguments), cwd=matrix.ROOT, capture_output=True, text=True, errors="replace", env=environment
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
