"""The working folder of LLaMA Board: our formatted data registered, our base models and recipes to choose.

    python -m pipeline llamaboard      # runs/llama-board/

    data/dataset_info.json             the data sets that it offers: pintune is the recipe's training split
    llamaboard_config/RECIPE.yaml      presets: choose one as config path, then Load arguments
    llamaboard_cache/user_config.yaml  where the base models lie
    models/NAME/                       the base model in the type of the recipe's precision (view.py)
    saves/MODEL/lora/NAME/             what it trains, which nothing here touches

Names are those of LLaMA Factory 0.9.5, src/llamafactory/webui: common.py (folders) and runner.py (elements).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.files import write_json, write_text
from pipeline.job import Job
from pipeline.llama_factory import arguments, view
from pipeline.llama_factory.arguments import Counted

FOLDER = "llama-board"  # under runs/
OWN = "pintune"  # its name for the recipe's training split; pintune_SPLIT for the other

MODELS = {"smollm2-135m-instruct": "SmolLM2-135M-Instruct", "mistral-7b-instruct": "Mistral-7B-Instruct-v0.2"}
"""Its names of our base models (extras/constants.py); a model that it does not know is "Custom"."""

_ELEMENTS = {
    "template": "top.template",
    "finetuning_type": "top.finetuning_type",
    "cutoff_len": "train.cutoff_len",
    "per_device_train_batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation_steps",
    "lr_scheduler_type": "train.lr_scheduler_type",
    "logging_steps": "train.logging_steps",
    "warmup_steps": "train.warmup_steps",
    "lora_rank": "train.lora_rank",
    "lora_alpha": "train.lora_alpha",
    "lora_dropout": "train.lora_dropout",
}
_TEXTS = {
    "learning_rate": "train.learning_rate",
    "num_train_epochs": "train.num_train_epochs",
    "max_grad_norm": "train.max_grad_norm",
    "max_samples": "train.max_samples",
}
_EXTRA = (
    "optim",
    "seed",
    "weight_decay",
    "save_total_limit",
    "disable_gradient_checkpointing",
    "use_reentrant_gc",
    "eval_steps",
    "load_best_model_at_end",
    "metric_for_best_model",
    "greater_is_better",
    "early_stopping_steps",
)  # that have no element
_SAVE_STEP, _ALL = 10, 100000  # of its slider; its default of max_samples


def write(job: Job, others: Sequence[Job], runs: Path, on_gpu: bool, say: Callable[[str], None]) -> Path:
    """Write the folder's settings; what was trained in it stays.

    Args:
        job: the recipe that is offered first, whose data are formatted.
        others: more recipes, offered if their base model is there.
    """
    folder = runs / FOLDER
    write_json(folder / "data" / "dataset_info.json", _datasets(job, folder / "data"))
    offered = [job, *(each for each in others if each.base_model.is_dir() and each.recipe.name != job.recipe.name)]
    paths: dict[str, str] = {}
    for each in offered:
        data = arguments.counted(each)
        model = view.write(each, runs, on_gpu)
        made, _ = arguments.arguments(each, data, on_gpu, folder, model)
        text = yaml.safe_dump(preset(each, made, data, own=each is job), sort_keys=False, allow_unicode=True)
        write_text(folder / "llamaboard_config" / f"{each.recipe.name}.yaml", text)
        paths.setdefault(_model(each), os.path.relpath(model, folder))
    file = folder / "llamaboard_cache" / "user_config.yaml"
    before = _settings(file)
    settings = {"lang": "en", "hub_name": "huggingface", "cache_dir": None, **before, "last_model": _model(job)}
    settings["path_dict"] = {**_paths(before), **paths}
    write_text(file, yaml.safe_dump(settings, allow_unicode=True))
    say(f"webui  data set {OWN}: {job.train.rows}")
    say(f"webui  models {', '.join(paths)}; presets {', '.join(each.recipe.name for each in offered)}")
    return folder


def preset(job: Job, made: dict[str, Any], data: Counted, own: bool) -> dict[str, Any]:
    """A recipe's arguments as the elements of the page.

    Args:
        own: whether the recipe's data set is `pintune`.
    """
    dataset = [f"{OWN}{'_sharegpt' if data.turns else ''}"] if own else [_name(job.formatted, made["dataset"])]
    values: dict[str, Any] = {"top.model_name": _model(job), "train.training_stage": "Supervised Fine-Tuning"}
    values |= {_ELEMENTS[key]: made[key] for key in _ELEMENTS if key in made}
    values |= {_TEXTS[key]: str(made.get(key, _ALL)) for key in _TEXTS}
    values["train.dataset_dir"] = "data"
    values["train.dataset"] = dataset if data.known else []
    values["train.compute_type"] = "fp16" if made["fp16"] else "bf16" if made["bf16"] else "fp32"
    values["train.save_steps"] = max(1, -(-int(made["save_steps"]) // _SAVE_STEP)) * _SAVE_STEP
    values["train.lora_target"] = "" if made["lora_target"] == "all" else made["lora_target"]
    values["train.val_size"] = round(made.get("val_size", 0) / data.entries, 3) if data.entries else 0
    # it always passes trust_remote_code: true, and 16 worker processes, of which each reads all data
    extra = {key: made[key] for key in _EXTRA if key in made}
    values["train.extra_args"] = json.dumps({**extra, "trust_remote_code": False, "preprocessing_num_workers": 1})
    return values


def _datasets(job: Job, folder: Path) -> dict[str, Any]:
    """Every formatted data set under data/, the recipe's own first."""
    found: dict[str, Any] = {}
    for file in (job.formatted / "dataset_info.json", *sorted(job.raw.parent.parent.glob("*/*/dataset_info.json"))):
        if not file.is_file():
            continue
        for name, entry in json.loads(file.read_text(encoding="utf-8")).items():
            where = os.path.relpath(file.parent / entry["file_name"], folder)
            own = file.parent == job.formatted
            found.setdefault(_own(job, name) if own else _name(file.parent, name), {**entry, "file_name": where})
    return found


def _own(job: Job, name: str) -> str:
    """pintune for SOURCE_train, pintune_SPLIT for another split, each with _sharegpt where it is that form."""
    rest = name.removeprefix(f"{job.source.name}_")
    split, form = rest.removesuffix("_sharegpt"), "_sharegpt" if rest.endswith("_sharegpt") else ""
    return f"{OWN}{'' if split == job.train.name else f'_{split}'}{form}"


def _name(formatted: Path, name: str) -> str:
    return f"{name}_{formatted.name}"


def _model(job: Job) -> str:
    return "Custom" if job.recipe.model.random else MODELS.get(job.recipe.model.source, "Custom")


def _settings(file: Path) -> dict[str, Any]:
    """What a person has chosen on the page before."""
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _paths(settings: dict[str, Any]) -> dict[str, str]:
    found = settings.get("path_dict")
    return found if isinstance(found, dict) else {}
