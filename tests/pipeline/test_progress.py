"""Progress: plain lines without a terminal, a bar on one, and a time left that can be believed."""

from __future__ import annotations

import fcntl
import itertools
import os
import pty
import random
import re
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
    assert capsys.readouterr().out == "train  10/10 in 00:00  loss 1\n"


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
    assert capsys.readouterr().out == "train  7/10 in 00:15, 00:15 left\n"  # three of the six missing steps took 15 s
    shown.reach(8)
    assert capsys.readouterr().out == ""


class _Clock:
    """A clock that tests move, and what is printed as time left at each step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.now, self._capsys = 1000.0, capsys
        monkeypatch.setattr("pipeline.progress.time.monotonic", lambda: self.now)
        monkeypatch.setattr("pipeline.progress._INTERVAL", 0.0)

    def left(self) -> float:
        """Seconds left, as the last line says."""
        found = re.search(r", ([\d:]+) left", self._capsys.readouterr().out)
        assert found
        seconds = 0.0
        for part in found.group(1).split(":"):
            seconds = 60 * seconds + int(part)
        return seconds


def test_the_time_left_does_not_swing_with_uneven_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 2 to 18 s, and every 25 steps a pause of a minute for the validation split."""
    clock, draw = _Clock(monkeypatch, capsys), random.Random(1)
    seconds = [draw.choice((2.0, 4.0, 18.0)) + (60.0 if step % 25 == 24 else 0.0) for step in range(400)]
    shown, said = Progress("train", len(seconds)), []
    for step, took in enumerate(seconds[:-1], 1):
        clock.now += took
        shown.reach(step)
        said.append((clock.left(), sum(seconds[step:])))
    late = said[50:]
    assert all(abs(left - true) < 0.15 * sum(seconds) for left, true in late)
    jumps = [abs(after - before) for (before, _), (after, _) in itertools.pairwise(late)]
    assert max(jumps) < 0.06 * sum(seconds)


def test_long_contexts_before_short_ones_are_told_apart_by_their_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of 1,000 down to 100 tokens take 10 s down to 1 s: the time left is right from the first one."""
    clock = _Clock(monkeypatch, capsys)
    tokens = list(range(1000, 99, -100))
    shown, worked = Progress("base", len(tokens), work=sum(tokens)), 0
    for done, of_batch in enumerate(tokens[:-1], 1):
        clock.now += of_batch / 100
        worked += of_batch
        shown.reach(done, work=worked)
        assert clock.left() == pytest.approx((sum(tokens) - worked) / 100, abs=1)


def test_a_terminal_shows_a_bar() -> None:
    script = "from pipeline.progress import Progress; p = Progress('train', 4)"
    script += "; import time; time.sleep(0.2); p.reach(2, 'loss 2'); time.sleep(0.2); p.reach(4, 'loss 1'); p.close()"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TQDM_")}
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [sys.executable, "-c", script]
    subprocess.run(command, cwd=ROOT, env=environment, stdout=terminal, check=True, timeout=60)
    shown = os.read(main, 1 << 16).decode()
    os.close(terminal)
    os.close(main)
    assert "00:00 left, loss 2" in shown
    assert "train: 100%|" in shown and "4/4" in shown and "loss 1" in shown
