"""A run's curves as TensorBoard reads them: `tensorboard --logdir runs`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary


def folder(run: Path) -> Path:
    """Where a run's event files are: beside the runs, because TensorBoard follows links and `latest` names a run."""
    return run.parent / "tensorboard" / run.name


class EventWriter:
    """An event file in `folder`, made with the first point and synced every step.

    SummaryWriter's thread would lose an error such as a full disk.

    Args:
        first_step: where this process begins; TensorBoard hides what an earlier process wrote from there on.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self._folder, self._first_step = folder, first_step
        self._events: EventsWriter | None = None

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a point to each curve, except for None."""
        if self._events is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(self._folder / "events"))
            start = SessionLog(status=SessionLog.START)
            self._events.write_event(Event(wall_time=time.time(), step=self._first_step, session_log=start))
        shown = [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if value is not None]
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=shown)))
        self._events.flush()

    def close(self) -> None:
        """Close the file; everything added is on disk already."""
        if self._events is not None:
            with contextlib.suppress(OSError):
                self._events.close()
