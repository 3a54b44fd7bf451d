"""Checkpoints of a run: what Trainer saves into the staging folder is sealed and published at the end of each save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from pipeline import distributed
from pipeline.training import checkpoint, fsdp


class CheckpointCallback(TrainerCallback):  # type: ignore[misc]
    """Publishes each checkpoint, and keeps the newest `kept`.

    Args:
        folder: the run's checkpoints; Trainer's output_dir is its staging folder.
        kept: how many stay.
    """

    def __init__(self, folder: Path, kept: int) -> None:
        self._folder, self._kept = folder, kept

    def on_train_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **context: Any) -> None:
        if state.is_world_process_zero:
            checkpoint.remove_staging(self._folder)  # of a killed save
        if state.global_step:  # Trainer has loaded whole moments
            fsdp.distribute_moments(optimizer.optimizer)
        distributed.barrier()

    def on_save(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        distributed.barrier()  # each rank has written its random state
        if state.is_world_process_zero:
            checkpoint.publish(self._folder, state.global_step, self._kept)
        distributed.barrier()
