"""A long command whose output goes to a log: one line that is rewritten on a terminal, few plain lines elsewhere.

With PINTUNE_DEBUG=1 everything is shown instead, and nothing is logged.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from images import matrix, pip_config

_TAIL = 25  # lines of the log that are shown after a failure
_LOOK = 1.0  # seconds between looks at the log, on a terminal
_SAY = 30.0  # seconds between plain lines
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def log_file(name: str) -> Path:
    """The log of a build, which the next build of the same name replaces."""
    return matrix.ROOT / ".pintune" / "logs" / f"{name}.log"


def run(
    command: Sequence[str],
    name: str,
    shown: str,
    usually: str = "",
    cwd: Path = matrix.ROOT,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Run a command to its end; returns its exit status. After a failure the last lines of its log are shown.

    Args:
        name: of its log.
        shown: what it makes, as its lines call it.
        usually: how long that takes, in words; "" if it was never measured.
    """
    if os.environ.get("PINTUNE_DEBUG") == "1":
        return subprocess.run(command, cwd=cwd, env=environment).returncode
    log = log_file(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    pip_config.private(log, "")  # an index address may hold a token
    where = log.relative_to(matrix.ROOT)
    print(f"build  {shown}{f', usually {usually}' if usually else ''}; log: {where}", flush=True)
    started, said = time.monotonic(), 0.0
    with log.open("ab") as file:
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            while (status := _wait(process)) is None:
                said = _say(time.monotonic() - started, said, doing(log))
        except BaseException:  # an interrupt: the command ends together with its verb
            process.terminate()
            process.wait()
            raise
        finally:
            print("\r\x1b[K" if sys.stdout.isatty() else "", end="", flush=True)
    if status:
        print("\n".join(["…", *_lines(log)[-_TAIL:], f"the whole log: {where}"]), file=sys.stderr, flush=True)
    return status


def doing(log: Path) -> str:
    """What a build does: BuildKit's newest step as [STAGE K/N] and its command, else the last line."""
    lines = _lines(log)
    steps = [found for line in lines if (found := re.match(r"#\d+ (\[.+? \d+/\d+\]) (.*)", line))]
    if not steps:
        return lines[-1] if lines else ""
    command = re.sub(r"^RUN (--\S+\s+)*", "", steps[-1].group(2))
    return f"{steps[-1].group(1)} {command}"


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_LOOK)
    except subprocess.TimeoutExpired:
        return None


def _say(seconds: float, said: float, what: str) -> float:
    """Say how far a build is; returns when that was said last, in seconds since its start."""
    line = f"build  {_clock(seconds)}  {what}"
    if sys.stdout.isatty():
        print(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K", end="", flush=True)
    elif seconds - said >= _SAY:
        print(line[:120], flush=True)
        return seconds
    return said


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _lines(log: Path) -> list[str]:
    text = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
    return [line.rstrip() for line in _ESCAPES.sub("", text).splitlines() if line.strip()]
