"""What every result says of the machine and the versions it was made with."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def facts(script: str, *packages: str) -> dict[str, Any]:
    """Script, date, revision, processor, and the versions of `packages`."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    return {
        "script": f"benchmarks/{script}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "revision": revision,
        "machine": {
            "processor": next(line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
            "cores": os.cpu_count(),
            "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        },
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }
