"""The private methods of Transformers' Trainer that Pintune overrides: each with its reason, and all in this file.

tests/pipeline/training/test_trainer_private.py pins their signatures, so that an upgrade that changes one fails there.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from pipeline.training import fsdp


class HookedTrainer(Trainer):  # type: ignore[misc]
    """A Trainer for a PEFT model that `fsdp.shard` may have sharded, which Trainer and accelerate know nothing of."""

    sharded = False

    def _wrap_model(self, model: Any, *positional: Any, **options: Any) -> Any:
        """Leave a sharded model as it is: accelerate would wrap it in DistributedDataParallel, without a switch."""
        if self.sharded:
            prepare = type(self.accelerator).prepare_model
            self.accelerator.prepare_model = functools.partial(prepare, self.accelerator, evaluation_mode=True)
        return super()._wrap_model(model, *positional, **options)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load into existing weights: PEFT's load_adapter, which Trainer calls, cannot fill sharded ones."""
        fsdp.load_adapter(self.model, Path(resume_from_checkpoint))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Gather sharded moments on all ranks: Trainer asks only the saving rank for the optimizer's state."""
        state, scheduler = fsdp.gather(self.optimizer.state_dict()), self.lr_scheduler.state_dict()
        if self.args.should_save:
            torch.save(state, Path(output_dir, OPTIMIZER_NAME))
            torch.save(scheduler, Path(output_dir, SCHEDULER_NAME))
