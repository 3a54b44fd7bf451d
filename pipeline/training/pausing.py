"""SIGTERM, which a machine that is about to go sends: the run saves at the end of the step it is in, and ends with a status of its own."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from pipeline.errors import PAUSED, Stop
from pipeline.training import processes


class Paused(Stop):
    """A run that saved and stopped because it was told to."""

    status = PAUSED


class Pausing(TrainerCallback):  # type: ignore[misc]
    """Saves and stops at the end of a step during which this process, or any that trains with it, got SIGTERM."""

    def __init__(self) -> None:
        self._asked = False
        self.paused_at: int | None = None  # the step that was saved
        self._before: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._before = signal.signal(signal.SIGTERM, self._ask)

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if self._anywhere(args) and state.global_step < state.max_steps and not control.should_training_stop:
            control.should_save = control.should_training_stop = True
            self.paused_at = state.global_step

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def need_done(self, run: Path) -> None:
        """Raise Paused if the run did not come to its end."""
        if self.paused_at is not None:
            flags = " with --nodes and --gpus-per-node as before" if processes.count() > 1 else ""
            raise Paused("the whole training", f"SIGTERM; step {self.paused_at} is saved", str(run / "checkpoints"), f"invoke train --resume{flags}")

    def _ask(self, number: int, frame: object) -> None:
        self._asked = True

    def _anywhere(self, args: Any) -> bool:
        if args.world_size == 1:
            return self._asked
        asked = torch.tensor(int(self._asked), device=args.device)
        torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        return bool(asked)
