"""A step as a process of this machine."""

from __future__ import annotations

import subprocess

from images import matrix
from images.running.container import PATIENCE, PAUSED


def run(command: list[str], environment: dict[str, str], capture: bool) -> tuple[int, str]:
    """Run it to its end; returns its exit status, and its standard output with `capture`. An interrupt becomes a SIGTERM, upon which a training saves."""
    # in a session of its own, or a terminal's Ctrl-C would reach it before that
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
                status = process.wait(PATIENCE)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                raise KeyboardInterrupt from None
            if status != PAUSED:
                raise
            return status, ""
    return process.returncode, text or ""
