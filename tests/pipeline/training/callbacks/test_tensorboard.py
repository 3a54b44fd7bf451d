"""Event files, as TensorBoard reads them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog

from pipeline.training.callbacks.tensorboard import EventWriter


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
    EventWriter(tmp_path / "tensorboard", 5).close()
    starts = [event for event in _events(tmp_path / "tensorboard") if event.session_log.status == SessionLog.START]
    assert [event.step for event in starts] == [5]
