"""What only the host's checkout knows, for manifests and labels."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from pathlib import Path

from images import matrix
from images.errors import Stop


def revision() -> tuple[str, bool]:
    """The checkout's git commit ("" outside a repository) and whether files differ from it."""
    head = _git("rev-parse", "HEAD")
    return head, bool(head) and bool(_git("status", "--porcelain"))


def version() -> str:
    """Pintune's own version."""
    found = re.search(r'^version = "(.+)"$', (matrix.ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else ""


def commit_time() -> int:
    """When HEAD was committed, in seconds since 1970; 0 outside a repository."""
    return int(_git("show", "-s", "--format=%ct", "HEAD") or 0)


def export(revision: str, folder: Path) -> None:
    """Unpack a commit's files into `folder`.

    Raises:
        Stop: git cannot.
    """
    command = ["git", "-c", f"safe.directory={matrix.ROOT}", "archive", "--format=tar", revision]
    done = subprocess.run(command, cwd=matrix.ROOT, capture_output=True)
    if done.returncode:
        raise Stop(f"the files of commit {revision[:12]}", done.stderr.decode().strip(), "git archive", "git fsck")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="data")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-c", f"safe.directory={matrix.ROOT}", *arguments], cwd=matrix.ROOT, capture_output=True, text=True
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
