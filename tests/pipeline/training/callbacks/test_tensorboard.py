"""Event files, as TensorBoard reads them."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from pipeline.training.callbacks import tensorboard
from pipeline.training.callbacks.tensorboard import EventWriter
from tests.steps import latest, step, train_until_killed


def _shown() -> dict[str, list[str]]:
    """The runs that TensorBoard shows: the folders with event files that it reaches, through links too; their files."""
    walked = ((Path(folder), files) for folder, _, files in os.walk("runs", followlinks=True))
    found = {
        str(folder.relative_to("runs")): [each for each in files if "tfevents" in each] for folder, files in walked
    }
    return {name: files for name, files in found.items() if files}


def test_a_run_is_shown_once_although_latest_names_it_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train_until_killed(6, monkeypatch)
    assert step("train", "--resume") == 0
    assert latest() == run.resolve()
    shown = _shown()
    assert list(shown) == [f"tiny/tensorboard/{run.name}"]
    assert [str(Path("runs", name)) for name in shown] == [str(tensorboard.folder(run))]


def _events(folder: Path) -> list[Any]:
    """The records of the newest event file (TFRecord: length, CRC, data, CRC)."""
    data = sorted(folder.iterdir())[-1].read_bytes()
    events = []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + size]))
        data = data[16 + size :]
    return events


def test_points_are_on_disk_before_the_file_is_closed(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "tensorboard", 1)
    writer.add(1, {"train/loss": 2.5, "train/grad_norm": None})
    writer.add(2, {"train/loss": 1.5, "train/grad_norm": 0.25})
    points = [
        (event.step, each.tag, each.simple_value)
        for event in _events(tmp_path / "tensorboard")
        for each in event.summary.value
    ]
    assert points == [(1, "train/loss", 2.5), (2, "train/loss", 1.5), (2, "train/grad_norm", 0.25)]
    writer.close()


def test_a_resumed_run_hides_the_later_points_of_the_first(tmp_path: Path) -> None:
    first = EventWriter(tmp_path / "tensorboard", 5)
    assert not (tmp_path / "tensorboard").exists()  # a run that fails before its first step leaves nothing
    first.add(5, {"train/loss": 1.0})
    first.close()
    starts = [event for event in _events(tmp_path / "tensorboard") if event.session_log.status == SessionLog.START]
    assert [event.step for event in starts] == [5]


def test_the_settings_of_a_run_are_written_once_for_each_start(tmp_path: Path) -> None:
    lora: dict[str, Any] = {"r": 8, "targets": ("q_proj", "v_proj")}
    recipe = {"lora": lora, "training": {"fsdp": False, "learning_rate": 1e-3}}
    values = tensorboard.hyperparameters(recipe)
    assert values == {
        "lora.r": 8,
        "lora.targets": "('q_proj', 'v_proj')",
        "training.fsdp": False,
        "training.learning_rate": 1e-3,
    }
    writer = EventWriter(tmp_path / "tensorboard", 1, values)
    writer.add(1, {"train/loss": 1.0})
    writer.add(2, {"train/loss": 0.5})
    writer.close()
    tags = [each.tag for event in _events(tmp_path / "tensorboard") for each in event.summary.value]
    assert tags == ["_hparams_/session_start_info", "train/loss", "train/loss"]
