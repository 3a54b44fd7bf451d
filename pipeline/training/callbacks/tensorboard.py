"""A run's curves as TensorBoard reads them: `tensorboard --logdir runs`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary


class EventWriter:
    """An event file in `folder`, synced every step: SummaryWriter's thread would lose an error such as a full disk.

    Args:
        first_step: where this process begins; TensorBoard hides what an earlier process wrote from there on.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        folder.mkdir(exist_ok=True)
        self._events = EventsWriter(str(folder / "events"))
        start = SessionLog(status=SessionLog.START)
        self._events.write_event(Event(wall_time=time.time(), step=first_step, session_log=start))

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a point to each curve, except for None."""
        shown = [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if value is not None]
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=shown)))
        self._events.flush()

    def close(self) -> None:
        """Close the file; everything added is on disk already."""
        with contextlib.suppress(OSError):
            self._events.close()
