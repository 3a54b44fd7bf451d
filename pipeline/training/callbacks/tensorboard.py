"""A run's curves as TensorBoard reads them: `tensorboard --logdir runs`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary


class Board:
    """An event file in `folder`, written and synced with every step: SummaryWriter's thread would lose an error such as a full disk.

    Args:
        first_step: where this process begins; what an earlier one wrote from there on is not shown.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        folder.mkdir(exist_ok=True)
        self._events = EventsWriter(str(folder / "events"))
        self._events.write_event(
            Event(wall_time=time.time(), step=first_step, session_log=SessionLog(status=SessionLog.START))
        )

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """A point of each curve; none where there is no number."""
        shown = [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if value is not None]
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=shown)))
        self._events.flush()

    def close(self) -> None:
        """Write no more; what was added is on disk by then."""
        with contextlib.suppress(OSError):
            self._events.close()
