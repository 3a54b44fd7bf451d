"""Transformers' TrainingArguments of a recipe."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import TrainingArguments

from pipeline.models import load
from pipeline.recipe import Training


class _Arguments(TrainingArguments):  # type: ignore[misc]
    @property
    def device(self) -> torch.device:
        """Among several ranks accelerate calls a CPU cpu:0, which torch.load does not know."""
        found = super().device
        return torch.device("cpu") if found.type == "cpu" else found

    @property
    def place_model_on_device(self) -> bool:
        """The model is on its device, or sharded over devices, already."""
        return False

    @property
    def n_gpu(self) -> int:
        """At most one: for several in one process Trainer makes a DataParallel, which weighs tokens otherwise."""
        return min(1, int(super().n_gpu))


def training_arguments(settings: Training, precision: str, output: Path) -> TrainingArguments:
    """What Trainer needs of [training].

    Args:
        precision: "fp32", "fp16" or "bf16".
        output: the staging folder of checkpoints.
    """
    return _Arguments(
        output_dir=str(output),
        seed=settings.seed,
        data_seed=settings.seed,
        full_determinism=False,  # `load.use_deterministic_kernels` does that, and does not wait for every kernel
        ddp_find_unused_parameters=False,
        use_cpu=load.device() == "cpu",
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        gradient_checkpointing=settings.gradient_checkpointing,
        # the base is frozen, so no input of a layer requires a gradient by itself
        gradient_checkpointing_kwargs={"use_reentrant": False},
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_contexts,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch",
        logging_steps=1,
        logging_nan_inf_filter=False,  # `MetricsCallback` stops at a NaN
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        report_to="none",
        disable_tqdm=True,  # `MetricsCallback` shows the progress
        remove_unused_columns=False,
        dataloader_num_workers=0,
    )
