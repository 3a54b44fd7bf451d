"""Settings with marks in them, to look for where they must not be; and how tests call verbs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from images import hostpip

Invoke = Callable[..., "subprocess.CompletedProcess[str]"]

TOKEN, AUTHORITY = "pintune-token-mark.invalid", "pintune-authority-mark"


def marked_settings(folder: Path) -> dict[str, str]:
    """pip settings as this machine has them, with a mark where an index's token would stand and one in the certificates."""
    own = hostpip.read().certificates
    bundle = folder / "certificates.pem"
    bundle.write_text((own.read_text(encoding="utf-8") if own else "") + f"\n# {AUTHORITY}\n", encoding="utf-8")
    marks = {"PIP_TRUSTED_HOST": TOKEN}
    return {**marks, "PIP_CERT": str(bundle)} if own else marks
