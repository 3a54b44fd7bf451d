"""Transformers' Trainer with the loss over answers alone, and the same steps with any number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft.optimizers import create_loraplus_optimizer

from pipeline.data import packing
from pipeline.recipe import Training
from pipeline.training import fsdp
from pipeline.training.callbacks.metrics import MetricsCallback
from pipeline.training.trainer_private import HookedTrainer


class AnswerTrainer(HookedTrainer):
    """A Trainer whose loss is the mean cross entropy, in nats, over the answer tokens of a step on all ranks.

    The model is one that `loss.give_answer_loss` has been called on, the data set a list of `Encoded`, the collator a
    `Collator`.

    Args:
        metrics: counts tokens, questions and skipped steps.
        settings: of the recipe.
        plus_ratio: of the recipe's [lora].
    """

    def __init__(
        self,
        *positional: Any,
        metrics: MetricsCallback,
        settings: Training,
        plus_ratio: float = 1.0,
        **options: Any,
    ) -> None:
        self.metrics, self.row_tokens, self.sharded = metrics, settings.row_tokens, settings.fsdp
        self.plus_ratio = plus_ratio
        super().__init__(*positional, **options)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Trainer's AdamW; for LoRA+ in PEFT's groups of parameters, the first of which has A's learning rate."""
        if getattr(self, "optimizer", None) is None and self.plus_ratio > 1:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            options |= {"loraplus_lr_ratio": self.plus_ratio, "loraplus_weight_decay": self.args.weight_decay}
            self.optimizer = create_loraplus_optimizer(self.model, kind, **options)
        return super().create_optimizer(model)

    def training_step(
        self, model: Any, inputs: dict[str, torch.Tensor], num_items_in_batch: torch.Tensor | int | None = None
    ) -> Any:
        """Forward and backward pass of a batch; returns the detached loss."""
        self.metrics.count(*inputs.pop("seen").tolist())
        *first, last = packing.micro_batches(inputs, self.row_tokens)
        with self.accelerator.no_sync(model):  # ranks, which may have another number of rows, meet once a batch
            losses = [super(AnswerTrainer, self).training_step(model, each, num_items_in_batch) for each in first]
        return torch.stack([*losses, super().training_step(model, last, num_items_in_batch)]).sum()

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Sum over this rank's answer tokens, divided by those of the whole step: every token has the same weight."""
        loss, answers = model(**inputs)
        # DistributedDataParallel averages gradients over ranks, of which each holds a part of the sum
        return loss / (answers if num_items_in_batch is None else num_items_in_batch) * self.args.world_size

    def get_train_dataloader(self) -> Any:
        """Every rank iterates over all contexts in the same order; the collator takes its share of each batch."""
        loader = super().get_train_dataloader()
        if self.args.world_size > 1:
            sampler = (
                loader.batch_sampler
            )  # accelerate's BatchSamplerShard, which would hand out whole batches in turns
            sampler.num_processes, sampler.process_index, sampler.even_batches = 1, 0, False
        return loader

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter on rank 0; all ranks must call it."""
        fsdp.save_adapter(self.model, Path(output_dir or self.args.output_dir))
