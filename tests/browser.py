"""Chromium, and what axe-core finds wrong on a page."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from tests.conftest import ROOT, lacking

NODE = ROOT / "tests" / "node"


def chromium() -> str:
    """Path of the browser; skips, or in CI fails, without one."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        lacking("Chromium (Debian: apt-get install chromium)")
    return str(found)


def violations(url: str, width: int, frame: str = "") -> list[dict[str, Any]]:
    """The rules of axe-core that a page breaks, with the elements that do.

    Args:
        width: of the window, in CSS pixels.
        frame: part of the address of the frame to look at; "": the page itself.
    """
    if not (NODE / "node_modules" / "axe-core").is_dir():
        lacking("axe-core (npm ci --prefix tests/node)")
    command = ["node", "axe.mjs", url, chromium(), str(width), *([frame] if frame else [])]
    done = subprocess.run(command, cwd=NODE, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["passes"] > 5, "axe-core looked at an empty page"
    broken: list[dict[str, Any]] = found["violations"]
    return broken
