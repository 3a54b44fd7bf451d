"""A named pipe that a step watches: it closes when the verb ends, even by SIGKILL, and then the step ends as well.

A pipe, because a container with a terminal does not notice that its standard input was closed, and because it works for
a process and for a container alike. Where the engine has another kernel (Docker Desktop), the step waits in vain and
trains to its end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from images.running.container import Container, Mount

VARIABLE = "PINTUNE_LIFELINE"  # the pipe's path, read by pipeline/lifeline.py
_INSIDE = "/run/pintune/lifeline"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Path]:
    """A pipe in `folder` that stays open for the block, or as long as this process lives."""
    pipe = folder / "lifeline"
    os.mkfifo(pipe)
    pipe.chmod(0o644)  # whatever the umask: the container's user reads it
    handle = os.open(pipe, os.O_RDWR)  # which does not wait for a reader
    try:
        yield pipe
    finally:
        os.close(handle)


def tied(container: Container, pipe: Path) -> Container:
    """The same container, which ends with this process."""
    environment = {**container.environment, VARIABLE: _INSIDE}
    return dataclasses.replace(container, mounts=(*container.mounts, Mount(pipe, _INSIDE)), environment=environment)
