"""Which process trains in a run's folder."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from pipeline.runs import process, store
from tests.steps import latest, step


def test_the_locking_process_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINTUNE_RUNNER", "here")
    run = store.create(tmp_path, {}, {"inputs": {}})
    with store.lock(run):
        written = json.loads((run / process.PROCESS).read_text())
    assert (written["pid"], written["host"], written["runner"]) == (os.getpid(), socket.gethostname(), "here")
    assert written["since"].endswith("+00:00")


def test_a_finished_run_has_no_process(place: Path) -> None:
    assert step("train", "--set", "data.train_contexts=1") == 0
    assert not (latest() / process.PROCESS).exists()
