"""Every path of the pipeline, each in one function. The working folder holds data/, models/ and runs/."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pipeline.recipe import Recipe
from pipeline.sources import source, splits


def raw_split(recipe: Recipe, split: str) -> Path:
    """A raw split, as fetched: contexts in TAT-QA's schema (.json) or rows (.jsonl)."""
    plain = Path("data") / source(recipe).name / "raw" / f"{split}.json"
    lines = plain.with_suffix(".jsonl")
    return lines if lines.exists() and not plain.exists() else plain


def formatted(recipe: Recipe) -> Path:
    """The folder of the rows made of both splits, of its own for all settings that shape them."""
    data = recipe.data
    shaping = (
        data.language,
        data.table,
        data.target,
        *splits(recipe),
        base(recipe).name,
        str(recipe.training.max_length),
    )
    mark = hashlib.sha256("\n".join(shaping).encode()).hexdigest()[:6]
    return Path("data") / source(recipe).name / f"{data.language}-{data.table}-{data.target}-{mark}"


def formatted_split(recipe: Recipe, split: str) -> Path:
    """The JSON lines made of a raw split; what they were made of stands in the folder's report.json."""
    return formatted(recipe) / f"{split}.jsonl"


def model(name: str) -> Path:
    """A base model: a Transformers folder with safetensors."""
    return Path("models") / name


def base(recipe: Recipe) -> Path:
    """The base model of a recipe; one of random weights has a folder of its own."""
    chosen = recipe.model
    return model(
        f"{chosen.source}-random{f'-{chosen.width}' if chosen.width else ''}" if chosen.random else chosen.source
    )


def runs(recipe: str) -> Path:
    """All runs of a recipe."""
    return Path("runs") / recipe
