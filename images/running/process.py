"""A step as a process of this machine."""

from __future__ import annotations

import subprocess

from images import matrix
from images.running import steps
from images.running.container import STOP_TIMEOUT


def run(command: list[str], environment: dict[str, str], capture: bool) -> tuple[int, str]:
    """Run a command to its end; returns its exit status, and with `capture` its standard output.

    An interrupt becomes a SIGTERM, upon which a training saves.
    """
    # in a session of its own, else Ctrl-C in a terminal would reach it as SIGINT first
    with subprocess.Popen(
        command,
        cwd=matrix.ROOT,
        env=environment,
        stdout=subprocess.PIPE if capture else None,
        text=True,
        start_new_session=True,
    ) as process:
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
