"""Progress: plain lines without a terminal, a bar on one."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from pipeline import progress
from pipeline.progress import Progress
from tests.conftest import ROOT


def test_without_a_terminal_there_is_a_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Progress("train", 10)
    shown.reach(3, "loss 2")
    assert capsys.readouterr().out == ""
    shown.reach(10, "loss 1")
    shown.close()
    assert capsys.readouterr().out == "train  10/10 in 0 s  loss 1\n"


def test_lines_come_at_intervals_with_the_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("pipeline.progress.time.monotonic", lambda: now)
    shown = Progress("train", 10, done=4)
    now += progress._INTERVAL - 1
    shown.reach(5)
    assert capsys.readouterr().out == ""
    now += 1
    shown.reach(7)
    assert capsys.readouterr().out == "train  7/10 in 15 s, 15 s left\n"  # three of the six missing steps took 15 s
    shown.reach(8)
    assert capsys.readouterr().out == ""


def test_a_terminal_shows_a_bar() -> None:
    script = "from pipeline.progress import Progress; p = Progress('train', 4); p.reach(4, 'loss 1'); p.close()"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TQDM_")}
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-c", script]
    subprocess.run(command, cwd=ROOT, env=environment, stdout=terminal, check=True, timeout=60)
    shown = os.read(main, 1 << 16).decode()
    os.close(terminal)
    os.close(main)
    assert "train: 100%|" in shown and "4/4" in shown and "loss 1" in shown
