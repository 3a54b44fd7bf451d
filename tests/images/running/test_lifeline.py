"""A verb that is killed takes its step with it; tests/images/verbs/test_kills_real.py does that to a training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from images.running import lifeline
from images.running.container import Container, Mount
from tests.conftest import ROOT

STEP = """
import signal, sys, time
from pipeline import lifeline
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
lifeline.watch()
print("watches", flush=True)
time.sleep(60)
"""


def _step(pipe: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, lifeline.VARIABLE: str(pipe)}
    step = subprocess.Popen([sys.executable, "-c", STEP], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert step.stdout and step.stdout.readline() == "watches\n"
    return step


def test_a_step_gets_sigterm_when_the_pipe_closes_and_not_before(tmp_path: Path) -> None:
    with lifeline.held(tmp_path) as pipe:
        step = _step(pipe)
        with pytest.raises(subprocess.TimeoutExpired):
            step.communicate(timeout=1)
    step.communicate(timeout=20)
    assert step.returncode == 75


def test_a_step_gets_sigterm_when_the_process_that_holds_the_pipe_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from images.running import lifeline\n"
        "with lifeline.held(pathlib.Path(sys.argv[1])): print('holds', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout and holder.stdout.readline() == "holds\n"
    step = _step(tmp_path / "lifeline")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    step.communicate(timeout=20)
    assert step.returncode == 75


def test_a_step_that_starts_after_the_verb_was_killed_ends(tmp_path: Path) -> None:
    with lifeline.held(tmp_path) as pipe:
        pass
    environment = {**os.environ, lifeline.VARIABLE: str(pipe)}
    assert subprocess.run([sys.executable, "-c", STEP], cwd=ROOT, env=environment, timeout=20).returncode == 75


def test_without_a_pipe_nothing_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import lifeline as inside

    before = threading.active_count()
    monkeypatch.delenv(lifeline.VARIABLE, raising=False)
    inside.watch()
    assert threading.active_count() == before


def test_a_container_gets_the_pipe() -> None:
    single = Container("i", (), (Mount(Path("/d"), "/pintune/data"),), {"A": "b"}, 1, 1)
    tied = lifeline.tied(single, Path("/scratch/lifeline"))
    assert tied.mounts == (*single.mounts, Mount(Path("/scratch/lifeline"), tied.environment[lifeline.VARIABLE]))
    assert tied.environment["A"] == "b"
