"""Ends a step when the verb that started it has ended, even by SIGKILL: a training saves, and nothing runs on unseen.

The host holds a named pipe open (images/running/lifeline.py) and passes its path in PINTUNE_LIFELINE.
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path


def watch() -> None:
    """Send this process SIGTERM once the pipe is closed; without one, do nothing."""
    if path := os.environ.pop("PINTUNE_LIFELINE", ""):  # for this process alone: a launcher ends its ranks itself
        threading.Thread(target=_wait, args=(Path(path),), daemon=True).start()


def _wait(path: Path) -> None:
    try:
        with path.open("rb") as pipe:
            pipe.read()  # nothing is ever written: returns when the last writer has closed it
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGTERM)
