"""A recipe as arguments of `llamafactory-cli train`, and what has no counterpart there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.formatted_rows import read_report, read_rows
from pipeline.job import Job
from pipeline.recipe import Recipe

VERSION = "0.9.5"  # of LLaMA Factory

SAME = {
    "lora.r": "lora_rank",
    "lora.alpha": "lora_alpha",
    "lora.dropout": "lora_dropout",
    "training.seed": "seed",
    "training.epochs": "num_train_epochs",
    "training.learning_rate": "learning_rate",
    "training.scheduler": "lr_scheduler_type",
    "training.warmup_steps": "warmup_steps",
    "training.weight_decay": "weight_decay",
    "training.max_grad_norm": "max_grad_norm",
    "training.max_length": "cutoff_len",
    "training.batch_contexts": "per_device_train_batch_size",
    "training.checkpoints_kept": "save_total_limit",
}
"""Recipe keys, and the arguments with the same value."""

SWITCHES = {"rslora": "use_rslora", "dora": "use_dora"}
"""Switches of [lora], and the arguments that turn them on."""

TEMPLATES = {
    "smollm2-135m-instruct": "smollm2",
    "phi-4-mini-reasoning": "phi4_mini",
    "mistral-7b-instruct": "mistral",
}
"""Its templates (data/template.py) of our base models; it reads that of another model from the tokenizer."""

_TATQA_QUESTIONS = 6.0  # of a context


@dataclass(frozen=True)
class Counted:
    """What `invoke data` counted of the training split."""

    known: bool  # whether the data are formatted; if not, the numbers are TAT-QA's
    entries: int  # of its data set; 0 if that is not known
    per_context: float  # entries of the data set for each context
    first: int  # entries of the first data.train_contexts contexts; 0 for all
    turns: bool  # whether an entry is a conversation, in the sharegpt form
    reasoning: bool  # whether there are reasoning traces


@dataclass(frozen=True)
class Note:
    """A setting without counterpart, or with one that does something else."""

    key: str
    why: str


def counted(job: Job) -> Counted:
    """What is known of a job's training split."""
    contexts = job.recipe.data.train_contexts
    try:
        report = read_report(job.formatted)["splits"][job.train.name]
        turns, total = bool(report["turns"]), int(report["contexts"])
        entries = total if turns else int(report["questions"])
    except KeyError:
        return Counted(False, 0, _TATQA_QUESTIONS, round(contexts * _TATQA_QUESTIONS), False, False)
    first = 0
    if contexts and contexts < total:
        first = contexts if turns else len(read_rows(job.train.rows, contexts))
    return Counted(True, entries, entries / max(1, total), first, turns, bool(report["reasoning"]))


def arguments(
    job: Job, data: Counted, on_gpu: bool, output: Path, model: Path | None = None
) -> tuple[dict[str, Any], list[Note]]:
    """The arguments of a recipe, by name, and what they leave out or do in another way.

    Args:
        on_gpu: whether it will train on a GPU, which decides what training.precision = "auto" is.
        output: the folder for what it writes.
        model: the base model as `view.write` has made it, whose type is that of the precision.
    """
    recipe, training = job.recipe, job.recipe.training
    precision, said = precision_of(recipe, on_gpu), _precision(recipe, on_gpu, model is not None)
    batch, batches = _batches(recipe, data)
    made: dict[str, Any] = {
        "model_name_or_path": str(model or job.base_model),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_target": "all" if recipe.lora.targets == ("all-linear",) else ",".join(recipe.lora.targets),
        "dataset_dir": str(job.formatted),
        "dataset": f"{job.source.name}_{job.train.name}{'_sharegpt' if data.turns else ''}",
    }
    if template := TEMPLATES.get("smollm2-135m-instruct" if recipe.model.random else recipe.model.source):
        made["template"] = template
    made |= {"max_samples": data.first} if data.first else {}
    values = {key: getattr(getattr(recipe, key.partition(".")[0]), key.partition(".")[2]) for key in SAME}
    made |= {SAME[key]: value for key, value in values.items()}
    made |= {argument: True for key, argument in SWITCHES.items() if getattr(recipe.lora, key)}
    made |= {"loraplus_lr_ratio": recipe.lora.plus_ratio} if recipe.lora.plus_ratio > 1 else {}
    made |= {"additional_target": ",".join(recipe.lora.modules_to_save)} if recipe.lora.modules_to_save else {}
    made |= {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": batches,
        "optim": "adamw_torch",
        "disable_gradient_checkpointing": not training.gradient_checkpointing,
        "fp16": precision == "fp16",
        "bf16": precision == "bf16",
        "flash_attn": "sdpa",
        "save_steps": training.checkpoint_steps,
        **_validation(recipe, data),
        "logging_steps": 1,
        "plot_loss": True,
        "report_to": "none",
        "output_dir": str(output),
    }
    if training.gradient_checkpointing:
        made["use_reentrant_gc"] = False
    return made, [*said, *_notes(job, data)]


def _batches(recipe: Recipe, data: Counted) -> tuple[int, int]:
    """Entries in a batch, and batches in a step, which together are as many questions as here on average."""
    training, questions = recipe.training, max(1, round(data.per_context))
    if not training.row_tokens:
        return training.batch_contexts, training.accumulation * questions
    batch = max(1, training.row_tokens // training.max_length)  # a batch is one forward pass, as a row is here
    return batch, max(1, round(training.batch_contexts * training.accumulation * questions / batch))


def precision_of(recipe: Recipe, on_gpu: bool) -> str:
    """What training.precision is there: "fp32", "fp16" or "bf16"."""
    asked = recipe.training.precision
    return asked if asked != "auto" else "fp16" if on_gpu else "fp32"


def _precision(recipe: Recipe, on_gpu: bool, of_that_type: bool) -> list[Note]:
    key, found, said = "training.precision", precision_of(recipe, on_gpu), []
    if recipe.training.precision == "auto":
        said.append(Note(key, f'"auto" is {found} on a {"GPU" if on_gpu else "CPU"}; it chooses nothing itself'))
    if found == "fp32" and not of_that_type:  # model/loader.py: torch_dtype = "auto"
        why = 'it computes in the "dtype" of the model\'s config.json, mostly 16 bits, which is slow on a CPU'
        said.append(Note(key, f"{why}; fp32 needs float32 there, as --run and the WebUI have it"))
    return said


def _validation(recipe: Recipe, data: Counted) -> dict[str, Any]:
    """The arguments that measure a validation split and keep the best adapter."""
    training = recipe.training
    if not training.heldout_contexts:
        return {}
    steps = training.heldout_steps
    return {
        "val_size": max(2, round(training.heldout_contexts * data.per_context)),
        "eval_strategy": "steps",
        "eval_steps": steps,
        "per_device_eval_batch_size": _batches(recipe, data)[0],
        # Transformers: to load the best at the end, save_steps must be a multiple of eval_steps
        "save_steps": -(-training.checkpoint_steps // steps) * steps,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
        **({"early_stopping_steps": training.early_stopping} if training.early_stopping else {}),
    }


def _notes(job: Job, data: Counted) -> list[Note]:
    recipe, training = job.recipe, job.recipe.training
    said = []

    def note(applies: object, key: str, why: str) -> None:
        if applies:
            said.append(Note(key, why))

    note(not data.known, "data", "not formatted yet: six questions a context are assumed; invoke data, then again")
    batch, batches = _batches(recipe, data)
    why = f"a step has {batch} x {batches} single questions in random order, not whole contexts"
    note(True, "training.batch_contexts", why)
    note(training.packing == "shared", "training.packing", '"shared" is not known: a context is read for each question')
    why = "not known: per_device_train_batch_size has as many questions as fit it at full length"
    note(training.row_tokens, "training.row_tokens", why)
    note(training.fsdp, "training.fsdp", "not an argument: accelerate launch --config_file, with FSDP in that file")
    why = "val_size takes random questions, whose contexts are in the training split too, not the last contexts"
    note(training.heldout_contexts, "training.heldout_contexts", why)
    moved = training.heldout_contexts and training.checkpoint_steps % training.heldout_steps
    note(moved, "training.checkpoint_steps", "save_steps is the next multiple of eval_steps, as Transformers asks")
    note(training.heldout_questions, "training.heldout_questions", "not known: it answers no questions while it trains")
    note(training.heldout_metric == "em", "training.heldout_metric", '"em" is not known: the lowest loss is kept')
    why = "report_to has them too, and would send to their servers: set it yourself"
    note(training.trackers, "training.trackers", why)
    for key in ("rank_pattern", "alpha_pattern"):
        note(getattr(recipe.lora, key), f"lora.{key}", "not known: all layers have one rank and one alpha")
    note(data.reasoning, "data.reasoning", "the data set has no reasoning traces: answers alone are trained")
    template = recipe.model.random or recipe.model.source in TEMPLATES
    note(not template, "model.source", "no template of it is known here: it reads the tokenizer's chat template")
    note(True, "training.max_length", "cutoff_len cuts a longer question's end; here that question is left out")
    note(True, "[evaluation], [export]", "steps of Pintune: invoke export --adapter FOLDER, then invoke evaluate")
    return said
