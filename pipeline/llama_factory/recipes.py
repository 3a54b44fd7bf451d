"""Arguments of `llamafactory-cli train` as a recipe's values, and what has no counterpart here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from pipeline.errors import Stop
from pipeline.llama_factory.arguments import SAME, SWITCHES, TEMPLATES, Counted, Note

Arguments = dict[str, Any]
Values = dict[str, dict[str, Any]]

_DEFAULTS: Arguments = {
    "lora_rank": 8,
    "lora_dropout": 0.0,
    "lora_target": "all",
    "cutoff_len": 2048,
    "seed": 42,
    "num_train_epochs": 3.0,
    "learning_rate": 5e-5,
    "lr_scheduler_type": "linear",
    "warmup_steps": 0,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "save_steps": 500,
}
"""Its values of arguments that are not given; ours are others."""

_NUMBERS: dict[str, Callable[[float], int | float]] = {
    **dict.fromkeys(("lora_dropout", "num_train_epochs", "learning_rate", "weight_decay", "max_grad_norm"), float),
    **dict.fromkeys(("lora_rank", "lora_alpha", "cutoff_len", "seed", "per_device_train_batch_size"), int),
    **dict.fromkeys(("gradient_accumulation_steps", "save_steps", "eval_steps", "logging_steps", "max_samples"), int),
    **dict.fromkeys(("save_total_limit", "early_stopping_steps"), int),
    **dict.fromkeys(("warmup_steps", "val_size", "loraplus_lr_ratio"), float),
}
_SCHEDULERS = ("cosine", "linear", "constant_with_warmup")

_WITHOUT_EFFECT = {
    "stage", "do_train", "finetuning_type", "output_dir", "overwrite_output_dir", "overwrite_cache", "logging_steps",
    "logging_dir", "plot_loss", "report_to", "preprocessing_num_workers", "dataloader_num_workers", "ddp_timeout",
    "cache_dir", "include_num_input_tokens_seen", "eval_strategy", "per_device_eval_batch_size", "run_name",
    "load_best_model_at_end", "save_strategy", "preprocessing_batch_size", "use_fast_tokenizer", "low_cpu_mem_usage",
    "use_reentrant_gc", "quantization_method",
}  # fmt: skip
"""Arguments that change no adapter, or that every recipe has."""

_AS_HERE: dict[str, tuple[Any, ...]] = {
    "optim": ("adamw_torch", "adamw_torch_fused"),
    "flash_attn": ("auto", "sdpa", "disabled"),
    "metric_for_best_model": ("eval_loss", "loss"),
    "adam_beta1": (0.9,),
    "adam_beta2": (0.999,),
    "adam_epsilon": (1e-8,),
    "warmup_ratio": (0, 0.0),
    "enable_thinking": (True,),  # for reasoning templates alone
    "rope_scaling": ("none",),
    "mix_strategy": ("concat",),
}
"""Values of arguments with which a recipe trains too."""

_FOLDER = re.compile(r"(zh|en)-(pipe|markdown|csv|html|headings)-(answer|equation)-[0-9a-f]{6}")


def model_and_data(given: Arguments, where: str) -> tuple[Values, list[Note]]:
    """The sections [model] and [data] of arguments and training.max_length, and what they leave out.

    Raises:
        Stop: another method than supervised fine-tuning with LoRA, or no model.
    """
    for key, wanted in (("stage", "sft"), ("finetuning_type", "lora")):
        if (found := given.get(key, wanted)) != wanted:
            todo = "train it with LLaMA Factory; invoke export --adapter takes a LoRA adapter of it"
            raise Stop(f"{key}: {wanted}, which a recipe can train", str(found), where, todo)
    if not given.get("model_name_or_path"):
        raise Stop("model_name_or_path", "none", where, "name the model there")
    model, said = _model(str(given["model_name_or_path"]))
    data, more = _data(given)
    longest = _number("cutoff_len", given.get("cutoff_len") or _DEFAULTS["cutoff_len"], where)  # which shapes the rows
    return {"model": model, "data": data, "training": {"max_length": longest}}, [*said, *more]


def training(given: Arguments, data: Counted, where: str) -> tuple[Values, list[Note]]:
    """The sections [lora] and [training] of arguments, [data]'s train_contexts, and what they leave out.

    Args:
        data: of the job that `model_and_data` names.

    Raises:
        Stop: a value that is no number.
    """
    asked = {**_DEFAULTS, **{key: value for key, value in given.items() if value is not None}}
    asked = {key: _number(key, value, where) for key, value in asked.items()}
    said: list[Note] = []
    made: Values = {"lora": {}, "training": {}, "data": {}}
    for key, argument in SAME.items():
        section, _, name = key.partition(".")
        if argument in asked:
            made[section][name] = asked[argument]
    made["lora"].setdefault("alpha", 2 * asked["lora_rank"])
    targets = str(asked["lora_target"])
    made["lora"]["targets"] = ["all-linear"] if targets == "all" else [each.strip() for each in targets.split(",")]
    made["lora"] |= {key: True for key, argument in SWITCHES.items() if asked.get(argument)}
    if ratio := asked.get("loraplus_lr_ratio"):
        made["lora"]["plus_ratio"] = ratio
    if whole := str(asked.get("additional_target") or ""):
        made["lora"]["modules_to_save"] = [each.strip() for each in whole.split(",")]
    own = made["training"]
    own["gradient_checkpointing"] = not asked.get("disable_gradient_checkpointing")
    own["precision"] = (
        "bf16" if asked.get("bf16") or asked.get("pure_bf16") else "fp16" if asked.get("fp16") else "fp32"
    )
    own["checkpoint_steps"] = asked["save_steps"]
    _schedule(own, said)
    _batches(own, asked, data, said)
    _validation(own, asked, data, said)
    if samples := asked.get("max_samples"):
        made["data"]["train_contexts"] = max(1, math.ceil(samples / data.per_context))
        if data.known and samples >= data.entries:
            del made["data"]["train_contexts"]
    if "save_total_limit" not in asked:
        said.append(Note("save_total_limit", "not set, which keeps all checkpoints; here the newest two are kept"))
    return made, [*said, *_others(given)]


def _number(key: str, value: Any, where: str) -> Any:
    """A value as its argument's type: YAML 1.1 reads 1e-4 as a text."""
    if key not in _NUMBERS or isinstance(value, bool):
        return value
    try:
        number = float(value)
        if _NUMBERS[key] is int and number != int(number):
            raise ValueError
        return _NUMBERS[key](number)
    except (TypeError, ValueError, OverflowError):
        raise Stop(f"{key}: a number", repr(value), where, "fix that line") from None


def _model(path: str) -> tuple[dict[str, Any], list[Note]]:
    name = path.rstrip("/").rpartition("/")[2]
    if found := re.fullmatch(r"(.+?)-random(?:-(\d+))?", name):
        width = {"width": int(found[2])} if found[2] else {}
        return {"source": found[1], "random": True, **width}, []
    by_name = {_plain(each): each for each in TEMPLATES}
    known = by_name.get(_plain(name.removesuffix("-v0.2")))
    if known:
        return {"source": known}, []
    why = f"put its Transformers folder (safetensors) under models/ as models/{name}"
    return {"source": name}, [] if path.rstrip("/").endswith(f"models/{name}") else [Note("model_name_or_path", why)]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _data(given: Arguments) -> tuple[dict[str, Any], list[Note]]:
    """[data] of a data set that `invoke data` has written; any other one is a note."""
    folder = str(given.get("dataset_dir", "data")).rstrip("/")
    names = [each.strip() for each in str(given.get("dataset", "")).split(",")]
    style = _FOLDER.fullmatch(folder.rpartition("/")[2])
    source = folder.rpartition("/")[0].rpartition("/")[2]
    split = names[0].removesuffix("_sharegpt").removeprefix(f"{source}_")
    if not style or len(names) != 1 or not names[0].startswith(f"{source}_"):
        found = f"{', '.join(names) or 'none'} of {folder}"
        return {}, [Note("dataset, dataset_dir", f"{found}: set data.source to the path of its file")]
    made: dict[str, Any] = dict(zip(("language", "table", "target"), style.groups(), strict=True))
    made |= {"source": source} | ({"train": split} if split != "train" else {})
    if source in ("sample", "sample-tools", "tatqa"):
        return made, []
    del made["source"]
    return made, [Note("dataset, dataset_dir", f"{source} is a file of yours: set data.source to its path")]


def _schedule(own: dict[str, Any], said: list[Note]) -> None:
    scheduler, warmup = str(own["scheduler"]), own["warmup_steps"]
    own["scheduler"] = scheduler
    if scheduler not in _SCHEDULERS:
        own["scheduler"] = "cosine"
        said.append(Note("lr_scheduler_type", f"{scheduler} is not known; cosine is taken"))
    if warmup != int(warmup):
        said.append(Note("warmup_steps", f"{warmup} is a part of all steps, which is not known; the default is taken"))
        del own["warmup_steps"]
    else:
        own["warmup_steps"] = int(warmup)


def _batches(own: dict[str, Any], asked: Arguments, data: Counted, said: list[Note]) -> None:
    """Contexts a batch and batches a step, of questions a batch and batches a step."""
    accumulated, questions = asked["gradient_accumulation_steps"], max(1, round(data.per_context))
    if accumulated % questions == 0:
        own["accumulation"] = accumulated // questions
        return
    of_step = asked["per_device_train_batch_size"] * accumulated
    own["batch_contexts"], own["accumulation"] = max(1, round(of_step / questions)), 1
    found = f"{own['batch_contexts']} contexts of {questions} questions are nearest to {of_step} questions a step"
    said.append(Note("per_device_train_batch_size", found))


def _validation(own: dict[str, Any], asked: Arguments, data: Counted, said: list[Note]) -> None:
    size = asked.get("val_size", 0)
    if not size:
        if asked.get("eval_dataset"):
            said.append(Note("eval_dataset", "no counterpart: training.heldout_contexts takes contexts of the split"))
        return
    if size < 1 and not data.entries:
        said.append(
            Note("val_size", f"{size} is a part of the data, which are not formatted yet: invoke data, then again")
        )
        return
    size *= data.entries if size < 1 else 1
    own["heldout_contexts"] = max(1, round(size / data.per_context))
    # Transformers: without eval_steps, logging_steps
    own["heldout_steps"] = asked["eval_steps"] if "eval_steps" in asked else asked.get("logging_steps", 500)
    if patience := asked.get("early_stopping_steps"):
        own["early_stopping"] = patience
    said.append(Note("val_size", "random questions there; here the last contexts of the split, with all questions"))


def _others(given: Arguments) -> list[Note]:
    """Notes for the arguments that nothing else reads; one that is off needs none."""
    read = {*SAME.values(), *_DEFAULTS, *_NUMBERS, *_WITHOUT_EFFECT, "model_name_or_path", "dataset", "dataset_dir"}
    read |= {*SWITCHES.values(), "additional_target", "disable_gradient_checkpointing", "fp16", "bf16", "eval_dataset"}
    said = []
    for key, value in given.items():
        if key in read or value in (None, False, "", "none", "None", 0) or value in _AS_HERE.get(key, ()):
            continue
        if key == "template":
            if value not in (*TEMPLATES.values(), "default", "empty"):
                said.append(Note(key, f"{value}: here the tokenizer's own chat template is used"))
        elif key == "pure_bf16":
            said.append(Note(key, "true: here the adapter's weights stay in fp32 under bf16"))
        elif key == "greater_is_better":
            said.append(Note(key, "true: here the lowest loss is kept"))
        else:
            said.append(Note(key, f"{value!r}: no counterpart"[:120]))
    return said
