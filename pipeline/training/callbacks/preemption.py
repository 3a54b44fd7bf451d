"""Preemption: on SIGTERM the run saves at the end of its current step, and ends with an exit status of its own."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pipeline import distributed
from pipeline.errors import Paused
from pipeline.training import checkpoint


class PreemptionCallback(TrainerCallback):  # type: ignore[misc]
    """Saves and stops at the end of a step during which any rank got SIGTERM.

    Outside the steps, where there is nothing to save, a resumable run ends at once. Close it at the end.

    Args:
        run: the run's folder.
        resumed: whether the run continues from a checkpoint.
    """

    def __init__(self, run: Path, resumed: bool) -> None:
        self._run = run
        self._asked = False
        self.paused_at: int | None = None  # the step that was saved
        self._handler_before = signal.getsignal(signal.SIGTERM)
        if resumed:
            signal.signal(signal.SIGTERM, self._end)

    def close(self) -> None:
        """Restore the former SIGTERM handler."""
        signal.signal(signal.SIGTERM, self._handler_before)

    def on_train_begin(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        signal.signal(signal.SIGTERM, self._ask)

    def on_step_end(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        asked = distributed.any_rank(self._asked, args.device)
        if asked and state.global_step < state.max_steps and not control.should_training_stop:
            control.should_save = control.should_training_stop = True
            self.paused_at = state.global_step

    def on_train_end(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        signal.signal(signal.SIGTERM, self._end)

    def need_finished(self) -> None:
        """Raise Paused if the run stopped before its last step."""
        if self.paused_at is not None:
            raise self._paused(f"SIGTERM; step {self.paused_at} is saved")

    def _paused(self, found: str) -> Paused:
        flags = " with --nodes and --gpus-per-node as before" if distributed.world_size() > 1 else ""
        where = str(checkpoint.folder(self._run))
        return Paused("the whole training", found, where, f"invoke train --resume{flags}")

    def _ask(self, number: int, frame: object) -> None:
        self._asked = True

    def _end(self, number: int, frame: object) -> None:
        raise self._paused("SIGTERM between its steps; what was saved stays")
