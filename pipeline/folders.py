"""Every path of the pipeline, each in one function. The working folder holds data/, models/ and runs/."""

from __future__ import annotations

from pathlib import Path


def raw_split(source: str, split: str) -> Path:
    """A raw split in TAT-QA's schema, as fetched."""
    return Path("data") / source / "raw" / f"{split}.json"


def formatted_split(source: str, language: str, split: str) -> Path:
    """The JSON lines made of a raw split; beside it, with suffix .json, what they were made of."""
    return Path("data") / source / language / f"{split}.jsonl"


def model(name: str) -> Path:
    """A base model: a Transformers folder with safetensors."""
    return Path("models") / name


def runs(recipe: str) -> Path:
    """All runs of a recipe."""
    return Path("runs") / recipe
