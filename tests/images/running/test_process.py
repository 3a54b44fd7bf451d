"""Steps as processes on this machine."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from images.running import (
    process,
)


@pytest.mark.parametrize(("answer", "status"), [("sys.exit(75)", 75), ("sys.exit(1)", None)])
def test_an_interrupt_reaches_a_process_as_sigterm(tmp_path: Path, answer: str, status: int | None) -> None:
    """Ctrl-C and SIGTERM raise KeyboardInterrupt in the verb; a training saves and exits with 75."""
    begun = tmp_path / "begun"
    code = (
        f"import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: {answer}); "
        f"pathlib.Path({str(begun)!r}).touch(); time.sleep(60)"
    )

    def interrupt() -> None:
        while not begun.exists():
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    if status is None:
        with pytest.raises(KeyboardInterrupt):
            process.run([sys.executable, "-c", code], dict(os.environ), capture=False)
    else:
        assert process.run([sys.executable, "-c", code], dict(os.environ), capture=False) == (status, "")
    thread.join()
