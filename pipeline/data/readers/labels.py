"""Labels of a Hugging Face data set by their names: a `ClassLabel` column holds numbers, and its names apart."""

from __future__ import annotations

import json
from typing import Any


def named(value: Any, feature: Any) -> Any:
    """A value of a column with the names of its labels in their place, lists and objects too; -1 is no label."""
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        number = isinstance(value, int) and 0 <= value < len(feature.names)
        return feature.names[value] if number else None if value == -1 else value
    if isinstance(feature, dict) and isinstance(value, dict):
        return {key: named(each, feature[key]) for key, each in value.items()}
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    if inner is not None and isinstance(value, list):
        return [named(each, inner) for each in value]
    if isinstance(inner, dict) and isinstance(value, dict):  # a list of objects as an object of lists
        return {key: [named(each, inner[key]) for each in values] for key, values in value.items()}
    return value


def of_parquet(schema: Any) -> dict[str, Any]:
    """The columns of a Parquet file whose features `datasets` has noted in it; empty if it has not."""
    metadata = schema.metadata or {}
    if b"huggingface" not in metadata or b"ClassLabel" not in metadata[b"huggingface"]:
        return {}
    import datasets

    noted = json.loads(metadata[b"huggingface"])["info"]["features"]
    return dict(datasets.Features.from_dict(noted))
