"""One training: Transformers' Trainer and PEFT's LoRA over batches of contexts."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback

from pipeline import distributed
from pipeline.data import packing
from pipeline.data.formatted_rows import answer_limit, read_rows
from pipeline.data.packing import Encoded
from pipeline.errors import Stop
from pipeline.files import sha256
from pipeline.job import Job
from pipeline.models import attention, chat_template, load, lora, norms
from pipeline.models.chat_template import ChatTemplate
from pipeline.recipe import Recipe, Training, as_values
from pipeline.training import checkpoint as checkpoints
from pipeline.training import fsdp, memory
from pipeline.training.arguments import training_arguments
from pipeline.training.callbacks import tensorboard, trackers, validation
from pipeline.training.callbacks.metrics import MetricsCallback
from pipeline.training.callbacks.preemption import PreemptionCallback
from pipeline.training.callbacks.publish import CheckpointCallback
from pipeline.training.callbacks.trackers import TrackersCallback
from pipeline.training.callbacks.validation import ValidationCallback
from pipeline.training.collator import Collator
from pipeline.training.loss import give_answer_loss
from pipeline.training.questions import Questions, of_last_contexts
from pipeline.training.trainer import AnswerTrainer


def train(job: Job, run: Path, checkpoint: Path | None) -> dict[str, Any]:
    """Train an adapter into `run`/adapter; returns what the manifest records of it.

    Raises:
        Stop: no question fits, an unknown layer, a precision that the device cannot do, a loss that is NaN.
        Paused: it received SIGTERM and has saved.
    """
    with contextlib.closing(PreemptionCallback(run, resumed=checkpoint is not None)) as preemption:
        return _train(job, run, checkpoint, preemption)


def _train(job: Job, run: Path, checkpoint: Path | None, preemption: PreemptionCallback) -> dict[str, Any]:
    recipe, settings = job.recipe, job.recipe.training
    precision, why = load.precision(settings.precision)
    _need_ranks(settings)
    trackers.need_installed(settings.trackers)
    _need_whole_precision(recipe, precision)
    _need_memory(job, precision)
    template, contexts, left_out = distributed.raise_together(lambda: encoded(job))
    contexts, held_out = validation.divide(contexts, settings.heldout_contexts)
    to_answer = distributed.raise_together(lambda: _to_answer(job, template)) if settings.heldout_questions else None
    questions = sum(context.answers for context in contexts)
    counted = f"{len(contexts)} contexts, {questions} questions from {job.train.rows}"
    distributed.print_once(f"train  {counted}; {precision} on {load.device()}: {why}")
    if left_out:
        longer = f"longer than training.max_length = {settings.max_length} tokens"
        distributed.print_once(f"train  {left_out} questions left out: {longer}")

    load.use_deterministic_kernels()
    # before the model: transformers seeds everything from its arguments
    arguments = training_arguments(settings, precision, checkpoints.staging_folder(checkpoints.folder(run)))
    adapted, replaced = prepared(recipe, job.base_model, precision, [*contexts, *held_out])
    load.need_vocabulary(adapted, template.tokenizer)
    values = tensorboard.hyperparameters(as_values(recipe))
    tracking = TrackersCallback(settings.trackers, run) if settings.trackers else None
    metrics = MetricsCallback(
        run, resumed=checkpoint is not None, scaled=precision == "fp16", settings=values, trackers=tracking
    )
    ranks = (distributed.rank(), distributed.world_size())
    pad = template.tokenizer.pad_token_id or 0
    collator = Collator(settings.packing, pad, settings.row_tokens, *ranks, even=settings.fsdp)
    measured = ValidationCallback(held_out, settings, collator, run, metrics, to_answer) if held_out else None
    publishing = CheckpointCallback(checkpoints.folder(run), settings.checkpoints_kept)
    trainer = AnswerTrainer(
        model=adapted,
        args=arguments,
        train_dataset=contexts,
        data_collator=collator,
        callbacks=[each for each in (metrics, tracking, measured, preemption, publishing) if each],
        metrics=metrics,
        settings=settings,
        plus_ratio=recipe.lora.plus_ratio,
    )
    metrics.skipped = lambda: bool(trainer.accelerator.optimizer_step_was_skipped)
    trainer.remove_callback(PrinterCallback)
    started = time.monotonic()
    steps = _finished_steps(checkpoint)
    if checkpoint and steps:
        _restore(adapted, checkpoint, steps, metrics, measured)
    else:
        with (
            contextlib.closing(metrics),
            distributed.reporting_lost_ranks(),
            checkpoints.reporting_failed_saves(checkpoints.folder(run)),
        ):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        steps = trainer.state.global_step
    if steps <= settings.warmup_steps:
        low = f"{steps} steps, training.warmup_steps = {settings.warmup_steps}"
        distributed.print_once(f"train  the learning rate did not reach its peak: {low}")
    seconds = metrics.seconds_before + time.monotonic() - started
    preemption.need_finished()
    with distributed.reporting_lost_ranks():
        if measured:
            measured.load_best(adapted)
        with checkpoints.reporting_disk_errors(run, "the trained adapter"):
            fsdp.save_adapter_atomically(adapted, run / "adapter")
        distributed.barrier()
    return {
        "precision": precision,
        "device": load.device(),
        "processes": distributed.world_size(),
        "threads": torch.get_num_threads(),
        "safe_norms": replaced,
        "contexts": len(contexts),
        "questions": questions,
        "questions_left_out": left_out,
        **(measured.record() if measured else {}),
        "steps": steps,
        "overflows": metrics.overflows,
        "tokens": metrics.tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(metrics.tokens / seconds, 1),
        "questions_per_second": round(metrics.questions / seconds, 2),
        "peak_memory_bytes": metrics.peak_memory(),
        "last_loss": metrics.last_loss,
        "adapter_sha256": sha256(run / "adapter" / "adapter_model.safetensors"),
    }


def prepared(recipe: Recipe, folder: Path, precision: str, contexts: Sequence[Encoded]) -> tuple[Any, int]:
    """The base model with a fresh adapter, as `AnswerTrainer` trains it, and the number of replaced norms.

    Args:
        folder: of the base model.
        precision: a key of `load.DTYPES`.
        contexts: all that it is to read.

    Raises:
        Stop: as `load.load_base`, `need_context_length` and `lora.new_adapter`.
    """
    adapted, base, replaced = distributed.raise_together(lambda: _adapted(recipe, folder, precision, contexts))
    if recipe.training.fsdp:
        fsdp.shard(adapted, base, load.device())
    return adapted, replaced


def encoded(job: Job) -> tuple[ChatTemplate, list[Encoded], int]:
    """The model's chat template, and what `packing.encode` makes of the rows to train on.

    Raises:
        Stop: as `packing.encode`.
    """
    template = chat_template.load(job.base_model)
    rows = read_rows(job.train.rows, job.recipe.data.train_contexts)
    return template, *packing.encode(template, rows, job.recipe.training.max_length)


def _to_answer(job: Job, template: ChatTemplate) -> Questions:
    """The first training.heldout_questions questions of the validation split."""
    recipe, settings = job.recipe, job.recipe.training
    rows = read_rows(job.train.rows, recipe.data.train_contexts)
    held_out = of_last_contexts(rows, template, settings.max_length, settings.heldout_contexts)
    options = (recipe.data.language, answer_limit(job), recipe.evaluation.batch_questions)
    return Questions(held_out[: settings.heldout_questions], template, *options)


def need_context_length(base: Any, contexts: Sequence[Encoded]) -> None:
    """Raise Stop if a question is longer than the model's context: our masks know no sliding window."""
    longest = max(len(context.prefix) + len(ids) for context in contexts for ids, _ in context.questions)
    positions = getattr(base.config.get_text_config(), "max_position_embeddings", None)
    for what, most in (("sliding window", load.sliding_window(base.config)), ("positions", positions)):
        if most and longest > most:
            raise Stop(
                "a model that sees a whole question with its context",
                f"{what} of {most} tokens, and a question of {longest}",
                str(Path(base.config.name_or_path) / "config.json"),
                f"--set training.max_length={most}, then invoke data",
            )


def _adapted(recipe: Recipe, folder: Path, precision: str, contexts: Sequence[Encoded]) -> tuple[Any, Any, int]:
    """The model with an adapter, the model in it, and how many norms were replaced."""
    # a model that is sharded goes to the GPUs in parts
    base = load.load_base(folder, load.DTYPES[precision], "cpu" if recipe.training.fsdp else None)
    need_context_length(base, contexts)
    replaced = norms.replace_rms_norms(base)
    attention.attend_by_context(base)
    give_answer_loss(base)
    return lora.new_adapter(base, recipe.lora, recipe.training.seed, folder), base, replaced


def _finished_steps(checkpoint: Path | None) -> int:
    """The steps of a checkpoint that is its run's last one, else 0."""
    if checkpoint is None:
        return 0
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    return int(state["global_step"]) if state["global_step"] >= state["max_steps"] else 0


def _restore(
    adapted: Any, checkpoint: Path, step: int, metrics: MetricsCallback, measured: ValidationCallback | None
) -> None:
    """What training leaves behind, from the checkpoint of its last step: Trainer would make another step."""
    fsdp.load_adapter(adapted, checkpoint)
    metrics.restore(step)
    if measured:
        measured.restore(step)


def _need_ranks(settings: Training) -> None:
    count = distributed.world_size()
    if settings.fsdp and count == 1:
        wanted = "several processes to shard the model over, for training.fsdp"
        todo = "invoke train --gpus-per-node 2, or --set training.fsdp=false"
        raise Stop(wanted, "one", "the recipe, [training] fsdp", todo)
    if settings.batch_contexts < count:
        found = f"training.batch_contexts = {settings.batch_contexts}"
        where = "the recipe, [training] batch_contexts"
        todo = f"--set training.batch_contexts={count}"
        raise Stop(f"a context for each of the {count} processes", found, where, todo)


def _need_whole_precision(recipe: Recipe, precision: str) -> None:
    if recipe.lora.modules_to_save and precision != "fp32":
        wanted = "training.precision = fp32 for lora.modules_to_save, whose modules would be trained in half precision"
        where, todo = "the recipe, [lora] modules_to_save", "--set training.precision=fp32"
        raise Stop(wanted, precision, where, f"{todo}, or --set lora.modules_to_save=[]")


def _need_memory(job: Job, precision: str) -> None:
    machine = load.machine_memory() // distributed.local_world_size()
    memory.need_memory(
        job.recipe,
        job.base_model,
        precision,
        distributed.all_reduce_min(load.memory()),
        distributed.world_size(),
        distributed.all_reduce_min(machine),
    )
