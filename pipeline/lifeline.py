"""Ends a step when the verb that started it has ended, even by SIGKILL: a training saves, and nothing runs on unseen.

The host holds a named pipe open (images/running/lifeline.py) and passes its path in PINTUNE_LIFELINE.
"""

from __future__ import annotations

import os
import signal
import threading


def watch() -> None:
    """Send this process SIGTERM once the pipe is closed, or at once if it is already; without one, do nothing."""
    if path := os.environ.pop("PINTUNE_LIFELINE", ""):  # for this process alone: a launcher ends its ranks itself
        try:
            # a blocking open would wait for ever for a verb that has been killed already
            pipe = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return
        os.set_blocking(pipe, True)
        threading.Thread(target=_wait, args=(pipe,), daemon=True).start()


def _wait(pipe: int) -> None:
    os.read(pipe, 1)  # nothing is ever written: returns when no process holds the other end
    os.close(pipe)
    os.kill(os.getpid(), signal.SIGTERM)
