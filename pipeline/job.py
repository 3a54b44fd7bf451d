"""A recipe resolved once against the working folder: every path and split that a stage needs.

The working folder holds data/, models/ and runs/. `resolve` is called in `step_functions`; stages take from the job
the plain paths and values that they need. Nothing below looks up a path or a split again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipeline import sources
from pipeline.recipe import Recipe
from pipeline.sources import Source


@dataclass(frozen=True)
class Split:
    """One split of a source: its raw file and the rows that `format` makes of it."""

    name: str
    folder: Path  # of the raw file
    rows: Path  # JSON lines; the folder's report.json says what they were made of

    @property
    def raw(self) -> Path:
        """The raw file: contexts in TAT-QA's schema (.json), or rows (.jsonl) where the source is a file of these."""
        contexts = self.folder / f"{self.name}.json"
        lines = contexts.with_suffix(".jsonl")
        return lines if lines.exists() and not contexts.exists() else contexts


@dataclass(frozen=True)
class Job:
    """A recipe with its source, splits and paths."""

    recipe: Recipe
    source: Source
    train: Split
    evaluation: Split
    raw: Path  # folder of the raw splits
    formatted: Path  # folder of the rows of both splits
    models: Path
    base_model: Path  # a Transformers folder with safetensors
    runs: Path  # all runs of the recipe

    @property
    def splits(self) -> tuple[Split, Split]:
        """The splits to train and to evaluate on."""
        return self.train, self.evaluation


def resolve(recipe: Recipe, folder: Path = Path()) -> Job:
    """The job of a recipe in a working folder.

    Raises:
        Stop: an unknown source or split, or one split for both roles.
    """
    source, (train, evaluation) = sources.source(recipe.data), sources.splits(recipe.data)
    data, models = folder / "data" / source.name, folder / "models"
    base = _base_model(recipe)
    formatted = data / _formatted(recipe, train, evaluation, base)
    return Job(
        recipe=recipe,
        source=source,
        train=Split(train, data / "raw", formatted / f"{train}.jsonl"),
        evaluation=Split(evaluation, data / "raw", formatted / f"{evaluation}.jsonl"),
        raw=data / "raw",
        formatted=formatted,
        models=models,
        base_model=models / base,
        runs=all_runs(folder) / recipe.name,
    )


def all_runs(folder: Path = Path()) -> Path:
    """The folder of the runs of all recipes."""
    return folder / "runs"


def _base_model(recipe: Recipe) -> str:
    """Folder name of the base model; one with random weights has its own."""
    model = recipe.model
    if not model.random:
        return model.source
    return f"{model.source}-random{f'-{model.width}' if model.width else ''}"


def _formatted(recipe: Recipe, train: str, evaluation: str, base: str) -> str:
    """Folder name of the rows: one folder for each combination of the settings that shape them."""
    data = recipe.data
    shaping: tuple[str, ...] = (
        data.language,
        data.table,
        data.target,
        train,
        evaluation,
        base,
        str(recipe.training.max_length),
    )
    if data.reasoning != "train":
        shaping = (*shaping, data.reasoning)
    mark = hashlib.sha256("\n".join(shaping).encode()).hexdigest()[:6]
    return f"{data.language}-{data.table}-{data.target}-{mark}"
