"""Settings with marks in them, to look for where they must not be; how tests call verbs; what the quickstart makes everywhere."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from images import pip_config

Invoke = Callable[..., "subprocess.CompletedProcess[str]"]

QUICKSTART_ADAPTER = "0cac193eb5eee535a607e944ecb6c215b5bf091e9f961b1c0d031ad0ec4de065"
"""SHA-256 of the adapter that the quickstart trains on a CPU, by every runner."""

TOKEN, AUTHORITY = "pintune-token-mark.invalid", "pintune-authority-mark"


def marked_settings(folder: Path) -> dict[str, str]:
    """pip settings as this machine has them, with a mark where an index's token would stand and one in the certificates."""
    own = pip_config.read().certificates
    bundle = folder / "certificates.pem"
    bundle.write_text((own.read_text(encoding="utf-8") if own else "") + f"\n# {AUTHORITY}\n", encoding="utf-8")
    marks = {"PIP_TRUSTED_HOST": TOKEN}
    return {**marks, "PIP_CERT": str(bundle)} if own else marks
