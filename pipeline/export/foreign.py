"""Export an adapter that another trainer has made, through the merge and the checks of our own.

    python -m pipeline export --adapter FOLDER      # runs/RECIPE/ID/{adapter,merged}/

The run that it becomes can be evaluated, asked and served as any other. Its manifest says what is unknown.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline import recipe as recipes
from pipeline.data import check
from pipeline.errors import Stop, one_line
from pipeline.export import run as exports
from pipeline.files import sha256, write_json
from pipeline.job import Job
from pipeline.models import load
from pipeline.runs import manifest, store

CONFIG = "adapter_config.json"
UNKNOWN = ("data", "hyperparameters", "seeds", "steps and loss", "packages and machine", "time and memory")
"""What a manifest says of a run of ours, and cannot of such an adapter."""


def export(job: Job, folder: Path, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """A new run of the recipe with this adapter and the merged model; returns its folder, and as `run.export`.

    Args:
        folder: of PEFT, with safetensors.

    Raises:
        Stop: no adapter that can be merged into the recipe's base model, or as `run.export`; no run is left then.
    """
    config = _config(folder)
    check.need_raw(job)
    check.need_formatted(job)
    named = str(config.get("base_model_name_or_path") or "")
    if _plain(named) not in (_plain(job.base_model.name), ""):
        say(f"export  the adapter names {named} as its base model; it is merged into {job.base_model}")
    of = replace(job, recipe=_with_lora(job, config, str(folder / CONFIG)))
    values = recipes.as_values(of.recipe)
    with store.whole(job.runs, values) as staging:
        (staging / "adapter").mkdir()
        shutil.copyfile(folder / load.ADAPTER, staging / "adapter" / load.ADAPTER)
        # as our own adapters have it: PEFT would look a repository up on the hub
        write_json(staging / "adapter" / CONFIG, {**config, "base_model_name_or_path": str(job.base_model)})
        made = _manifest(of, staging, folder, named)
        write_json(staging / store.MANIFEST, made)
        checked = exports.export(of, staging, made)
    say(f"export  trained by another trainer: unknown are {', '.join(UNKNOWN)}")
    return job.runs / staging.name, checked


def _manifest(job: Job, run: Path, folder: Path, named: str) -> dict[str, Any]:
    """A manifest that says what is known of the adapter; null and "unknown" are what is not."""
    inputs = manifest.inputs(job)
    training = {
        "by": "another trainer",
        "adapter": folder.name,
        "base_model": named or None,
        "unknown": list(UNKNOWN),
        "adapter_sha256": sha256(run / "adapter" / load.ADAPTER),
    }
    made = manifest.of_training(job.recipe, run, inputs, training)
    unknown = {"source": "unknown", "train": {"split": "unknown", "raw_sha256": None, "rows_sha256": None}}
    return {**made, "inputs": {**inputs, "data": {**inputs["data"], **unknown}}, "seeds": {"all": None}}


def _config(folder: Path) -> dict[str, Any]:
    """The config of an adapter in PEFT's format."""
    wanted, todo = f"an adapter of PEFT: {CONFIG} and {load.ADAPTER}", "invoke export --adapter FOLDER, with both files"
    lacking = [name for name in (CONFIG, load.ADAPTER) if not (folder / name).is_file()]
    if lacking:
        other = " (a pickle is not loaded: save it as safetensors)" if (folder / "adapter_model.bin").exists() else ""
        raise Stop(wanted, f"no {' and no '.join(lacking)}{other}", str(folder), todo)
    try:
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise Stop(wanted, one_line(error), str(folder / CONFIG), todo) from None
    if not isinstance(found, dict):
        raise Stop(wanted, repr(found)[:80], str(folder / CONFIG), todo)
    return found


def _with_lora(job: Job, config: dict[str, Any], where: str) -> recipes.Recipe:
    """The recipe with the adapter's own rank, scale, dropout and targets, as far as a recipe can have them."""
    targets = config.get("target_modules")
    own = {
        "r": config.get("r"),
        "alpha": config.get("lora_alpha"),
        "dropout": config.get("lora_dropout"),
        "targets": sorted(targets)
        if isinstance(targets, list)
        else ["all-linear"]
        if targets == "all-linear"
        else None,
        "rslora": config.get("use_rslora"),
        "dora": config.get("use_dora"),
        "rank_pattern": config.get("rank_pattern"),
        "alpha_pattern": config.get("alpha_pattern"),
        "modules_to_save": config.get("modules_to_save"),
    }
    values = recipes.as_values(job.recipe)
    values["lora"] |= {key: value for key, value in own.items() if value is not None}
    return recipes.resolve(job.recipe.name, values, where=where)


def _plain(name: str) -> str:
    """The last part of a path or a repository's name, without case and marks."""
    return re.sub(r"[^a-z0-9]", "", name.rstrip("/").rpartition("/")[2].lower())
