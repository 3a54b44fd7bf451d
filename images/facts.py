"""What only the host knows of a run, for its manifest."""

from __future__ import annotations

import subprocess

from images import matrix


def revision() -> tuple[str, bool]:
    """The checkout's git commit ("" outside a repository) and whether files differ from it."""
    head = _git("rev-parse", "HEAD")
    return head, bool(head) and bool(_git("status", "--porcelain"))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-c", f"safe.directory={matrix.ROOT}", *arguments], cwd=matrix.ROOT, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
