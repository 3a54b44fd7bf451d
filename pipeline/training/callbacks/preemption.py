"""SIGTERM, which a machine that is about to go sends: the run saves at the end of the step it is in, and ends with a status of its own."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from pipeline import distributed
from pipeline.errors import PAUSED, Stop


class Paused(Stop):
    """A run that saved and stopped because it was told to."""

    status = PAUSED


class Pausing(TrainerCallback):  # type: ignore[misc]
    """Saves and stops at the end of a step during which this process, or any that trains with it, got SIGTERM.

    Outside the steps, where nothing is there to be saved, a run that can be gone on with ends at once. Close it at the end.

    Args:
        run: the run's folder.
        continued: whether it goes on from a checkpoint.
    """

    def __init__(self, run: Path, continued: bool) -> None:
        self._run = run
        self._asked = False
        self.paused_at: int | None = None  # the step that was saved
        self._before = signal.getsignal(signal.SIGTERM)
        if continued:
            signal.signal(signal.SIGTERM, self._end)

    def close(self) -> None:
        """Have SIGTERM do what it did before."""
        signal.signal(signal.SIGTERM, self._before)

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        signal.signal(signal.SIGTERM, self._ask)

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if self._anywhere(args) and state.global_step < state.max_steps and not control.should_training_stop:
            control.should_save = control.should_training_stop = True
            self.paused_at = state.global_step

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        signal.signal(signal.SIGTERM, self._end)

    def need_done(self) -> None:
        """Raise Paused if the run did not come to its end."""
        if self.paused_at is not None:
            raise self._paused(f"SIGTERM; step {self.paused_at} is saved")

    def _paused(self, found: str) -> Paused:
        flags = " with --nodes and --gpus-per-node as before" if distributed.count() > 1 else ""
        return Paused("the whole training", found, str(self._run / "checkpoints"), f"invoke train --resume{flags}")

    def _ask(self, number: int, frame: object) -> None:
        self._asked = True

    def _end(self, number: int, frame: object) -> None:
        raise self._paused("SIGTERM between its steps; what was saved stays")

    def _anywhere(self, args: Any) -> bool:
        if args.world_size == 1:
            return self._asked
        asked = torch.tensor(int(self._asked), device=args.device)
        torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        return bool(asked)
