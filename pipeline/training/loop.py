"""Train: Transformers' Trainer and PEFT's LoRA over batches of contexts.

python -m pipeline train                    # runs/RECIPE/ID/adapter/
python -m pipeline train --resume           # goes on from the newest checkpoint of the newest unfinished run
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainingArguments

from pipeline import distributed, job
from pipeline.data import packing
from pipeline.data.format import read_rows
from pipeline.data.packing import Encoded
from pipeline.errors import Stop
from pipeline.files import sha256
from pipeline.models import chat_template, load
from pipeline.models.attention import attend_by_context
from pipeline.models.norms import put_safe_norms
from pipeline.recipe import Recipe
from pipeline.training import checkpoint as checkpoints
from pipeline.training import fsdp, memory
from pipeline.training.callbacks import validation
from pipeline.training.callbacks.metrics import Watch
from pipeline.training.callbacks.preemption import Pausing
from pipeline.training.trainer import AnswerTrainer, Collator, give_answer_loss


def train(recipe: Recipe, rows_file: Path, run: Path, checkpoint: Path | None) -> dict[str, Any]:
    """Train an adapter into `run`/adapter; returns what the manifest records of it.

    Raises:
        Stop: no question fits, a layer that is not there, a precision that the device cannot do, a loss that is no number.
        Paused: it was told to stop, and has saved.
    """
    with contextlib.closing(Pausing(run, continued=checkpoint is not None)) as pausing:
        return _train(recipe, rows_file, run, checkpoint, pausing)


def _train(recipe: Recipe, rows_file: Path, run: Path, checkpoint: Path | None, pausing: Pausing) -> dict[str, Any]:
    settings = recipe.training
    kind, why = load.precision(recipe)
    _need_processes(recipe)
    machine = load.machine_memory() // distributed.here()
    memory.need_memory(recipe, kind, distributed.least(load.memory()), distributed.count(), distributed.least(machine))
    talker, contexts, left_out = distributed.each(lambda: encoded(recipe, rows_file))
    contexts, held_out = validation.divide(contexts, settings.heldout_contexts)
    questions = sum(len(context.questions) for context in contexts)
    distributed.say(
        f"train  {len(contexts)} contexts, {questions} questions from {rows_file}; {kind} on {load.device()}: {why}"
    )
    if left_out:
        distributed.say(
            f"train  {left_out} questions left out: longer than training.max_length = {settings.max_length} tokens"
        )

    load.same_every_time()
    arguments = _arguments(recipe, kind, run)
    adapted, norms = prepared(recipe, kind, [*contexts, *held_out])
    pad = talker.tokenizer.pad_token_id or 0
    watch = Watch(run, continued=checkpoint is not None, scaled=kind == "fp16")
    collator = Collator(
        settings.packing, pad, settings.row_tokens, distributed.number(), distributed.count(), even=settings.fsdp
    )
    measured = validation.HeldOut(held_out, settings, collator, run, watch) if held_out else None
    trainer = AnswerTrainer(
        model=adapted,
        args=arguments,
        train_dataset=contexts,
        data_collator=collator,
        callbacks=[each for each in (watch, measured, pausing) if each],
        watch=watch,
        settings=settings,
    )
    watch.skipped = lambda: bool(trainer.accelerator.optimizer_step_was_skipped)
    trainer.remove_callback(PrinterCallback)
    started = time.monotonic()
    with contextlib.closing(watch), distributed.others_there():
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = watch.seconds_before + time.monotonic() - started
    pausing.need_done()
    if measured:
        with distributed.others_there():
            measured.take_best(adapted)
    with distributed.others_there(), checkpoints.room_for(run, "the trained adapter"):
        fsdp.put_adapter(adapted, run / "adapter")
        trainer.accelerator.wait_for_everyone()
    best = (
        {"heldout_contexts": len(held_out), "best_step": measured.best[1], "heldout_loss": measured.best[0]}
        if measured and measured.best
        else {}
    )
    return {
        "precision": kind,
        "device": load.device(),
        "processes": distributed.count(),
        "threads": torch.get_num_threads(),
        "safe_norms": norms,
        "contexts": len(contexts),
        "questions": questions,
        "questions_left_out": left_out,
        **best,
        "steps": trainer.state.global_step,
        "overflows": watch.overflows,
        "tokens": watch.tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(watch.tokens / seconds, 1),
        "questions_per_second": round(watch.questions / seconds, 2),
        "peak_memory_bytes": watch.peak_memory(),
        "last_loss": watch.last_loss,
        "adapter_sha256": sha256(run / "adapter" / "adapter_model.safetensors"),
    }


def prepared(recipe: Recipe, kind: str, contexts: Sequence[Encoded]) -> tuple[Any, int]:
    """The recipe's model with a fresh adapter, as `AnswerTrainer` trains it, and how many of its norms were replaced by fp16-safe ones.

    Args:
        kind: the precision, of `model.DTYPES`.
        contexts: all that it is to read.

    Raises:
        Stop: as `model.load_base`, `model.need_sight` and `model.new_adapter`.
    """
    adapted, base, norms = distributed.each(lambda: _adapted(recipe, kind, contexts))
    if recipe.training.fsdp:
        fsdp.shard(adapted, base, load.device())
    return adapted, norms


def encoded(recipe: Recipe, rows_file: Path) -> tuple[chat_template.Chat, list[Encoded], int]:
    """The model's chat format, and what `batches.encode` makes of the rows to train on.

    Raises:
        Stop: as `batches.encode`.
    """
    folder = job.base(recipe)
    talker = chat_template.chat(chat_template.load_tokenizer(folder), folder)
    return talker, *packing.encode(talker, read_rows(rows_file, recipe.data.train_contexts), recipe.training.max_length)


def _adapted(recipe: Recipe, kind: str, contexts: Sequence[Encoded]) -> tuple[Any, Any, int]:
    """The model with an adapter, the model in it, and how many norms were replaced."""
    # what is spread over processes goes to the GPUs in parts
    base = load.load_base(job.base(recipe), load.DTYPES[kind], "cpu" if recipe.training.fsdp else None)
    load.need_sight(base, contexts)
    norms = put_safe_norms(base)
    attend_by_context(base)
    give_answer_loss(base)
    return load.new_adapter(base, recipe), base, norms


def _need_processes(recipe: Recipe) -> None:
    settings, count = recipe.training, distributed.count()
    if settings.fsdp and count == 1:
        raise Stop(
            "several processes to spread the model over, for training.fsdp",
            "one",
            "the recipe, [training] fsdp",
            "invoke train --gpus-per-node 2, or --set training.fsdp=false",
        )
    if settings.batch_contexts < count:
        raise Stop(
            f"a context for each of the {count} processes",
            f"training.batch_contexts = {settings.batch_contexts}",
            "the recipe, [training] batch_contexts",
            f"--set training.batch_contexts={count}",
        )


class _Arguments(TrainingArguments):  # type: ignore[misc]
    @property
    def device(self) -> torch.device:
        """Among several processes accelerate calls a CPU cpu:0, which torch.load does not know."""
        found = super().device
        return torch.device("cpu") if found.type == "cpu" else found

    @property
    def place_model_on_device(self) -> bool:
        """It lies there, or in parts there, already."""
        return False

    @property
    def n_gpu(self) -> int:
        """One at most: of several in one process Trainer would make a DataParallel, which weighs tokens otherwise."""
        return min(1, int(super().n_gpu))


def _arguments(recipe: Recipe, kind: str, run: Path) -> TrainingArguments:
    settings = recipe.training
    return _Arguments(
        output_dir=str(run / "checkpoints"),
        seed=settings.seed,
        data_seed=settings.seed,
        full_determinism=False,  # `model.same_every_time` does that, and does not wait for every kernel
        ddp_find_unused_parameters=False,
        use_cpu=load.device() == "cpu",
        fp16=kind == "fp16",
        bf16=kind == "bf16",
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={
            "use_reentrant": False
        },  # the base is frozen: no input of a layer asks for a gradient by itself
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
        logging_nan_inf_filter=False,  # a NaN is to be seen
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        report_to="none",
        disable_tqdm=True,  # Watch shows the progress
        remove_unused_columns=False,
        dataloader_num_workers=0,
    )
