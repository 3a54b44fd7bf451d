"""Where questions come from: the embedded samples, the real TAT-QA, or a user's file; and the splits of each.

A file or folder holds rows or contexts in any form of pipeline/data/readers. `fetch` imports it into data/NAME/raw/,
every tenth context or row as the split "heldout", or the data set's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Stop
from pipeline.recipe import Data

# NExTplusplus/TAT-QA at this commit, CC BY 4.0; git blob ids of dataset_raw/tatqa_dataset_SPLIT.json
TATQA_COMMIT = "870accc41953dcde885aabeb963d94aabdc0fbc3"
TATQA_BLOBS = {
    "train": "ec6a61be61ea7bb92c3278877e46e8488cc5203c",
    "dev": "48075c812af3fe6698b1d5cb50d9dbf358d52784",
    "test_gold": "3d5d3b691af572646ba9b1ac4d8f78c5dca09732",
}
_FORMS = re.compile(r"(\.(jsonl?|ndjson|csv|tsv|parquet|gz))+$", re.IGNORECASE)  # of a file's name
HELD_OUT = 10  # every tenth context or row of a user's file


@dataclass(frozen=True)
class Source:
    """A source of questions; `name` is its folder under data/, `file` the user's file or folder, if it is one."""

    name: str
    splits: tuple[str, ...]
    train: str
    evaluation: str
    file: Path | None = None


_OWN = {
    "sample": Source("sample", ("train", "heldout", "hard"), "train", "heldout"),
    "sample-tools": Source("sample-tools", ("train", "heldout"), "train", "heldout"),
    "tatqa": Source("tatqa", tuple(TATQA_BLOBS), "train", "dev"),
}


def source(data: Data) -> Source:
    """The source that data.source names.

    Raises:
        Stop: neither a known name nor a path, or a file with the name of a known source.
    """
    named = data.source
    if named in _OWN:
        return _OWN[named]
    path = Path(named)
    if not path.suffix and path.name == named:
        raise Stop(
            f"data.source: one of {', '.join(_OWN)}, or the path of a file or a folder",
            repr(named),
            "the recipe, [data] source",
            f"--set data.source=sample, or ./{named} for a folder of that name"
            if named
            else "--set data.source=sample",
        )
    name = _FORMS.sub("", path.name).strip(".")
    if not name:
        raise Stop("the path of a file or a folder", repr(named), "the recipe, [data] source", "name the file")
    if name in _OWN:
        raise Stop(
            f"a file of another name than {', '.join(_OWN)}",
            path.name,
            "the recipe, [data] source",
            f"rename it to my-{path.name}",
        )
    return Source(name, ("train", "heldout"), "train", "heldout", path)


def splits(data: Data) -> tuple[str, str]:
    """The splits to train and to evaluate on.

    Raises:
        Stop: unknown source or split, or one split for both.
    """
    own = source(data)
    for key, split in (("train", data.train), ("evaluation", data.evaluation)):
        if split and split not in own.splits:
            raise Stop(
                f"data.{key}: one of {', '.join(own.splits)}",
                repr(split),
                f"the recipe, [data] {key}",
                f"--set data.{key}={own.splits[0]}",
            )
    chosen = (data.train or own.train, data.evaluation or own.evaluation)
    if chosen[0] == chosen[1]:
        raise Stop(
            "another split to evaluate on than to train on",
            f"{chosen[0]!r} for both",
            "the recipe, [data] train and evaluation",
            f"--set data.evaluation={next(split for split in own.splits if split != chosen[0])}",
        )
    return chosen
