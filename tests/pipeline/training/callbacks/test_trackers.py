"""Trackers of experiments: what their own readers find, and that none sends anything or harms a training."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Stop
from pipeline.training.callbacks import trackers
from tests.conftest import ROOT
from tests.steps import latest, manifest, overrides, step, train_until_killed

ALL = overrides('training.trackers=["mlflow","trackio","wandb"]', "training.heldout_contexts=2")
AUDIT = """
import os, sys
def note(event, values):
    if event == "socket.connect" and isinstance(values[1], tuple) or event == "socket.getaddrinfo":
        reached = values[1][0] if event == "socket.connect" else values[0]
        with open(os.environ["REACHED"], "a") as file:
            file.write(f"{reached}\\n")
sys.addaudithook(note)
"""


@pytest.fixture
def reached(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the addresses that `trained` connects to or looks up."""
    (place / "settings").mkdir()
    (place / "settings" / "sitecustomize.py").write_text(AUDIT)
    (place / "reached.txt").write_text("")
    monkeypatch.setenv("REACHED", str(place / "reached.txt"))
    return place / "reached.txt"


def trained(*words: str) -> str:
    """Train in a process of its own, since Trackio keeps the first store that a process names; returns the output."""
    command = [sys.executable, "-m", "pipeline", "train", "--recipe", "tiny.toml", *words]
    known = {**os.environ, "PYTHONPATH": f"settings:{ROOT}"}
    done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def restored() -> Iterator[None]:
    """The environment without what trackers set."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def _losses(run: Path) -> dict[int, float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def _in_mlflow(run: Path) -> tuple[str, dict[int, float]]:
    """The state of a run in MLflow's store, and its losses."""
    import mlflow

    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    client = mlflow.MlflowClient(trackers.folder(run, "mlflow").resolve().as_uri())
    (experiment,) = (each for each in client.search_experiments() if each.name == run.parent.name)
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == run.name
    history = client.get_metric_history(found.info.run_id, "loss")
    return found.info.status, {point.step: point.value for point in history}


def test_each_tracker_has_the_losses_and_training_is_the_same(reached: Path, restored: None) -> None:
    assert "tracks no more" not in (out := trained(*ALL)), out
    run, tracked = latest(), manifest()["training"]["adapter_sha256"]
    expected = _losses(run)
    status, losses = _in_mlflow(run)
    assert status == "FINISHED"
    assert losses == pytest.approx(expected)
    (database,) = trackers.folder(run, "trackio").glob("*.db")
    with sqlite3.connect(database) as store:
        rows = [json.loads(text) for (text,) in store.execute("select metrics from metrics order by id")]
    found = {row["train/global_step"]: row["train/loss"] for row in rows if "train/loss" in row}
    assert found == pytest.approx(expected)
    assert any("train/heldout_loss" in row for row in rows)
    (offline,) = trackers.folder(run, "wandb").glob("offline-run-*")
    (record,) = offline.glob("run-*.wandb")
    assert record.name == f"run-{run.name}.wandb" and record.stat().st_size > 1000
    assert set(reached.read_text().split()) <= {"127.0.0.1", "localhost", "::1"}
    assert step("train", *overrides("training.heldout_contexts=2")) == 0
    assert manifest()["training"]["adapter_sha256"] == tracked


def test_a_resumed_run_is_one_run_in_mlflow(reached: Path, restored: None, monkeypatch: pytest.MonkeyPatch) -> None:
    only = overrides('training.trackers="mlflow"')
    run = train_until_killed(6, monkeypatch, *only)
    trained("--resume", *only)
    assert latest() == run.resolve()
    status, losses = _in_mlflow(latest())
    assert status == "FINISHED"
    assert losses == pytest.approx(_losses(latest()))


def test_variables_that_send_elsewhere_are_dropped(
    tmp_path: Path, restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("TRACKIO_SPACE_ID", "someone/space")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.invalid")
    run = tmp_path / "runs" / "tiny" / "20260101-000000-abcdef"
    trackers._stay_here(("trackio", "wandb", "mlflow"), run)
    assert os.environ["WANDB_MODE"] == "offline" and "TRACKIO_SPACE_ID" not in os.environ
    assert os.environ["MLFLOW_TRACKING_URI"] == (tmp_path / "runs" / "tiny" / "mlflow").as_uri()


def test_training_goes_on_without_a_tracker_that_fails(
    place: Path, restored: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing:
        def on_train_begin(self, *words: Any, **more: Any) -> None:
            pass

        def on_log(self, *words: Any, **more: Any) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setitem(trackers._CALLBACKS, "trackio", Failing)
    assert step("train", *overrides('training.trackers=["trackio"]')) == 0
    assert capsys.readouterr().out.count("train  trackio tracks no more: OSError: [Errno 28]") == 1


def test_a_tracker_that_is_not_installed_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Stop, match="the package wandb"):
        trackers.need_installed(("wandb",))


def test_an_unknown_tracker_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", *overrides('training.trackers=["comet"]')) == 1
    assert "training.trackers" in capsys.readouterr().err
