"""Which process trains in a run's folder; `invoke runs` shows it for a run whose unfinished.json is locked."""

from __future__ import annotations

import datetime
import os
import socket
from pathlib import Path

from pipeline.files import write_json

PROCESS = "process.json"


def record(run: Path) -> None:
    """Write that this process trains in a run's folder, since now.

    Beside the locked file, which must not be replaced. The ID of a process in a container is one of the container,
    whose ID is its host name.
    """
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    runner = os.environ.get("PINTUNE_RUNNER")
    write_json(run / PROCESS, {"pid": os.getpid(), "host": socket.gethostname(), "runner": runner, "since": since})


def forget(run: Path) -> None:
    """Remove what was recorded, at the end of a training."""
    (run / PROCESS).unlink(missing_ok=True)
