"""Train: Transformers' Trainer and PEFT's LoRA over batches of contexts.

python -m pipeline train                    # runs/RECIPE/ID/adapter/
python -m pipeline train --resume           # goes on from the newest checkpoint of the newest unfinished run
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainingArguments

from pipeline import chat, folders
from pipeline.files import new_folder, sha256
from pipeline.recipe import Recipe
from pipeline.rows import read_rows
from pipeline.training import batches, model, resume
from pipeline.training.watch import Watch


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose loss is the mean cross entropy, in nats, over the answer tokens of an optimizer step."""

    watch: Watch  # counts the tokens

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: torch.Tensor | int | None = None
    ) -> Any:
        """Sum over this batch's answer tokens by the number in the whole step, so that accumulation weighs every token equally."""
        self.watch.tokens += inputs["input_ids"].numel()
        with self.accelerator.autocast():
            loss, tokens = answer_loss(self.accelerator.unwrap_model(model).get_base_model(), inputs)
        return loss / (tokens if num_items_in_batch is None else num_items_in_batch)


def answer_loss(base: Any, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed cross entropy over the answer tokens of a batch made by `batches.collate`, in float32, and their number.

    Only their positions go through the output head: of a few hundred tokens in a row a handful are answers.
    """
    hidden = base.get_decoder()(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], position_ids=inputs["position_ids"], use_cache=False
    ).last_hidden_state
    answers = inputs["labels"] != batches.IGNORED
    logits = base.get_output_embeddings()(hidden[answers]).float()
    return torch.nn.functional.cross_entropy(logits, inputs["labels"][answers], reduction="sum"), answers.sum()


def train(recipe: Recipe, rows_file: Path, run: Path, checkpoint: Path | None) -> dict[str, Any]:
    """Train an adapter into `run`/adapter; returns what the manifest records of it.

    Raises:
        Stop: no question fits, a layer that is not there, fp16 without a GPU.
    """
    settings = recipe.training
    kind, why = model.precision(recipe)
    folder = folders.model(recipe.model.source)
    talker = chat.chat(chat.load_tokenizer(folder), folder)
    contexts, left_out = batches.encode(talker, read_rows(rows_file, recipe.data.train_contexts), settings.max_length)
    questions = sum(len(context.questions) for context in contexts)
    print(f"train  {len(contexts)} contexts, {questions} questions from {rows_file}; {kind} on {model.device()}: {why}", flush=True)
    if left_out:
        print(f"train  {left_out} questions left out: longer than training.max_length = {settings.max_length} tokens", flush=True)

    base = model.load_base(folder, torch.float16 if kind == "fp16" else torch.float32)
    adapted = model.new_adapter(base, recipe)
    watch = Watch(run / "metrics.jsonl", continued=checkpoint is not None)
    trainer = AnswerTrainer(
        model=adapted,
        args=_arguments(recipe, kind, run),
        train_dataset=contexts,
        data_collator=lambda chosen: batches.collate(chosen, settings.packing, talker.tokenizer.pad_token_id or 0),
        callbacks=[watch, resume.Seal()],
    )
    trainer.watch = watch
    trainer.remove_callback(PrinterCallback)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    with new_folder(run / "adapter") as aside:
        adapted.save_pretrained(aside, safe_serialization=True)
        (aside / "README.md").unlink(missing_ok=True)  # an unfilled model card
    return {
        "precision": kind,
        "device": model.device(),
        "threads": torch.get_num_threads(),
        "contexts": len(contexts),
        "questions": questions,
        "questions_left_out": left_out,
        "steps": trainer.state.global_step,
        "tokens": watch.tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round((watch.tokens - watch.tokens_before) / seconds, 1),
        "peak_memory_bytes": watch.peak_memory(),
        "last_loss": watch.last_loss,
        "adapter_sha256": sha256(run / "adapter" / "adapter_model.safetensors"),
    }


def _arguments(recipe: Recipe, kind: str, run: Path) -> TrainingArguments:
    settings = recipe.training
    return TrainingArguments(
        output_dir=str(run / "checkpoints"),
        seed=settings.seed,
        data_seed=settings.seed,
        full_determinism=True,
        use_cpu=model.device() == "cpu",
        fp16=kind == "fp16",
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
        save_total_limit=settings.checkpoints_kept,
        report_to="none",
        disable_tqdm=True,  # Watch shows the progress
        remove_unused_columns=False,
        dataloader_num_workers=0,
    )
