"""A run's curves and settings as TensorBoard reads them: `invoke tensorboard`, or `tensorboard --logdir runs`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary


def folder(run: Path) -> Path:
    """Where a run's event files are: beside the runs, because TensorBoard follows links and `latest` names a run."""
    return run.parent / "tensorboard" / run.name


def hyperparameters(recipe: Mapping[str, Mapping[str, Any]]) -> dict[str, bool | float | str]:
    """A recipe's values by section.key, for TensorBoard's HParams; what is no number, truth value or text, as text."""
    flat = {f"{section}.{key}": value for section, body in recipe.items() for key, value in body.items()}
    return {key: value if isinstance(value, bool | int | float | str) else str(value) for key, value in flat.items()}


class EventWriter:
    """An event file in `folder`, made with the first point and synced every step.

    SummaryWriter's thread would lose an error such as a full disk.

    Args:
        first_step: where this process begins; TensorBoard hides what an earlier process wrote from there on.
        settings: of the run, by name, for TensorBoard's HParams.
    """

    def __init__(self, folder: Path, first_step: int, settings: Mapping[str, bool | float | str] | None = None) -> None:
        self._folder, self._first_step, self._settings = folder, first_step, settings or {}
        self._events: EventsWriter | None = None

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a point to each curve, except for None."""
        if self._events is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._events = EventsWriter(str(self._folder / "events"))
            start = SessionLog(status=SessionLog.START)
            self._events.write_event(Event(wall_time=time.time(), step=self._first_step, session_log=start))
            if self._settings:
                _, started, _ = summary.hparams(dict(self._settings), {})
                self._events.write_event(Event(wall_time=time.time(), step=self._first_step, summary=started))
        shown = [Summary.Value(tag=name, simple_value=value) for name, value in values.items() if value is not None]
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=shown)))
        self._events.flush()

    def close(self) -> None:
        """Close the file; everything added is on disk already."""
        if self._events is not None:
            with contextlib.suppress(OSError):
                self._events.close()
