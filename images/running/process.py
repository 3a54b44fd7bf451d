"""A step as a process of this machine."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator

from images import matrix
from images.running import steps
from images.running.container import STOP_TIMEOUT


def run(command: list[str], environment: dict[str, str], capture: bool, interactive: bool = False) -> tuple[int, str]:
    """Run a command to its end; returns its exit status, and with `capture` its standard output.

    An interrupt becomes a SIGTERM, upon which a training saves; with `interactive`, Ctrl-C is the command's alone.
    """
    # in a session of its own, else Ctrl-C in a terminal would reach it as SIGINT first
    with (
        _deaf() if interactive else contextlib.nullcontext(),
        subprocess.Popen(
            command,
            cwd=matrix.ROOT,
            env=environment,
            stdout=subprocess.PIPE if capture else None,
            text=True,
            start_new_session=not interactive,
        ) as process,
    ):
        try:
            text, _ = process.communicate()
        except KeyboardInterrupt:
            process.terminate()
            try:
                status = process.wait(STOP_TIMEOUT)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                raise KeyboardInterrupt from None
            if status != steps.exit_status().paused:
                raise
            return status, ""
    return process.returncode, text or ""


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Let SIGINT pass this process by; by a handler, because a command would inherit that it is ignored."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
