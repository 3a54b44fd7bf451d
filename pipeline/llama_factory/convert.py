"""A job as the YAML of `llamafactory-cli train`, and such a YAML as a recipe file.

python -m pipeline llamafactory --recipe quickstart >train.yaml
python -m pipeline llamafactory --from train.yaml >mine.toml
"""

from __future__ import annotations

import os
from pathlib import Path

from pipeline import job, recipe
from pipeline.job import Job
from pipeline.llama_factory import arguments, recipes, text


def to_yaml(of: Job, output: Path, model: Path | None) -> str:
    """The YAML of a job, whose results go to the folder `output`.

    Args:
        model: as in `arguments.arguments`.
    """
    made, said = arguments.arguments(of, arguments.counted(of), on_gpu(), output, model)
    return text.as_yaml(of.recipe.name, made, said)


def to_recipe(file: Path) -> str:
    """The recipe file of a YAML.

    Raises:
        Stop: it cannot be read, it is of another method than LoRA, or a value is none that a recipe may have.
    """
    given, where = text.read_yaml(file), str(file)
    values, said = recipes.model_and_data(given, where)
    data = arguments.counted(job.resolve(recipe.resolve(file.stem, values, where=where)))
    own, more = recipes.training(given, data, where)
    merged = {**values, **own, "data": {**values["data"], **own["data"]}}
    return text.as_toml(recipe.resolve(file.stem, merged, where=where), file.name, [*said, *more])


def on_gpu() -> bool:
    """Whether this flavor computes on a GPU."""
    return os.environ.get("PINTUNE_FLAVOR", "cpu") != "cpu"
