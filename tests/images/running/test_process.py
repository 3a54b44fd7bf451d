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


def test_ctrl_c_is_an_interactive_commands_alone() -> None:
    """It gets SIGINT as from a terminal, and is not born deaf to it."""
    code = "import signal, sys; sys.exit(3 if signal.getsignal(signal.SIGINT) is signal.default_int_handler else 4)"
    before = signal.getsignal(signal.SIGINT)
    assert process.run([sys.executable, "-c", code], dict(os.environ), False, interactive=True) == (3, "")
    code = "import os, signal, sys; os.kill(os.getppid(), signal.SIGINT); print(os.getpgrp()); sys.exit(5)"
    asked = [sys.executable, "-c", code]
    assert process.run(asked, dict(os.environ), True, interactive=True) == (5, f"{os.getpgrp()}\n")
    assert signal.getsignal(signal.SIGINT) is before


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
