"""A base model as LLaMA Factory is to load it: in the type that its config.json names, whatever the arguments say.

runs/llama-board/models/NAME/      links to models/NAME/, and a config.json of its own
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pipeline.files import atomic_link, write_json
from pipeline.job import Job
from pipeline.llama_factory.arguments import precision_of

FOLDER = Path("llama-board", "models")  # under runs/


def write(job: Job, runs: Path, on_gpu: bool) -> Path:
    """The folder to load a job's base model from: a view in float32 for fp32, else the model's own."""
    base, view = job.base_model, runs / FOLDER / job.base_model.name
    if precision_of(job.recipe, on_gpu) != "fp32":
        return base
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    for file in sorted(base.iterdir()):
        if file.name != "config.json":
            atomic_link(view / file.name, os.path.relpath(file, view))
    for link in view.iterdir():
        if not link.exists():  # of a file that the model has no more
            link.unlink()
    write_json(view / "config.json", {**config, "dtype": "float32"})  # last: without it the folder is no model
    return view


def read(job: Job, runs: Path, on_gpu: bool) -> Path | None:
    """The view that `write` has made of a job's base model; None if the model's own folder is to be loaded."""
    view = runs / FOLDER / job.base_model.name
    return view if precision_of(job.recipe, on_gpu) == "fp32" and view.is_dir() else None
