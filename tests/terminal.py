"""A command in a terminal of its own, as a person has it: a pseudo-terminal that controls it, so that Ctrl-C works."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_CONTROLLED = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
_EDITING = re.compile(r"\x1b\[\?2004[hl]\r?")  # readline turns the terminal's mark of pasted text on and off
CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """A running command and what it has written."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _CONTROLLED, *command],
            cwd=folder,
            env={"TERM": "xterm", **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self._seen = b""

    def until(self, text: str, seconds: float = 240) -> str:
        """What the command writes up to and with a text; fails if it does not come."""
        end = time.monotonic() + seconds
        while text not in (seen := _EDITING.sub("", self._seen.decode(errors="replace")).replace("\r\n", "\n")):
            assert time.monotonic() < end, f"no {text!r} in {seen!r}"
            assert self._read(), f"ended without {text!r}: {seen!r}"
        before, found, after = seen.partition(text)
        self._seen = after.encode()
        return before + found

    def type(self, text: str) -> None:
        """Type a text; a line ends with a line feed."""
        os.write(self._ours, text.encode())

    def end(self, seconds: float = 120) -> tuple[int, str]:
        """The exit status of a command that ends by itself, and what it has written until then."""
        stop = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < stop, self._seen
        status = self.process.wait(30)
        return status, _EDITING.sub("", self._seen.decode(errors="replace")).replace("\r\n", "\n")

    def close(self) -> None:
        """Hang up."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)

    def _read(self) -> bool:
        """Read what is there, or wait for half a second; False once nobody has the terminal open any more."""
        if select.select([self._ours], [], [], 0.5)[0]:
            try:
                self._seen += os.read(self._ours, 4096)
            except OSError:  # Linux's end of a pseudo-terminal
                return False
        return True


@contextlib.contextmanager
def terminal(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """A command in a terminal of its own, which hangs up at the end."""
    made = Terminal(command, folder, environment)
    try:
        yield made
    finally:
        made.close()
