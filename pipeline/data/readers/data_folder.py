"""A folder as a source: a Hugging Face data set on disk, or files that are named after their splits.

my-set/dataset_dict.json, my-set/train/…    # what datasets' save_to_disk writes
my-set/data/train-00000-of-00001.parquet    # a repository of the hub; also train.jsonl, dev.csv, test.json.gz
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.data.readers.records import Fault, read, without_nothing
from pipeline.errors import Stop, one_line
from pipeline.json_stream import Placed

_HELD_OUT = ("validation", "valid", "val", "dev", "eval", "heldout", "test")  # the first that is there is held out
_SPLIT = re.compile(rf"(?:^|[^a-z])(train|{'|'.join(_HELD_OUT)})(?:[^a-z]|$)", re.IGNORECASE)


def splits(folder: Path, fault: Fault) -> dict[str, tuple[str, Iterator[Placed]]]:
    """The rows by split: "train", and the split to hold out by its own name if there is one; and what they are.

    Raises:
        Stop: no data set, or none with a split to train on.
    """
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        found = _saved(folder)
    else:
        found = _files(folder, fault)
    if "train" not in found:
        wanted = "a data set's folder, or files named train.…, and dev.… or test.… to hold out"
        inside = ", ".join(sorted(found)) or ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise Stop(wanted, inside, str(folder), "pass one file of it by data.source")
    held_out = next((name for name in _HELD_OUT if name in found), "")
    return {name: found[name] for name in ("train", held_out) if name}


def fingerprint(folder: Path) -> list[Path]:
    """The files of a folder that make the data set, in name order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _saved(folder: Path) -> dict[str, tuple[str, Iterator[Placed]]]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise Stop("a data set that datasets can load", one_line(error), str(folder), "save it again") from None
    by_split = loaded if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    return {name: ("a Hugging Face data set", _rows(folder, name, rows)) for name, rows in by_split.items()}


def _rows(folder: Path, split: str, rows: Any) -> Iterator[Placed]:
    for number, row in enumerate(rows):
        yield f"{folder}, {split}, row {number}", without_nothing(row)


def _files(folder: Path, fault: Fault) -> dict[str, tuple[str, Iterator[Placed]]]:
    by_split: dict[str, list[Path]] = {}
    for path in sorted((*folder.glob("*"), *(folder / "data").glob("*"))):
        named = _SPLIT.search(path.name)
        if path.is_file() and named and path.suffix not in (".md", ".py", ".txt", ".yaml"):
            by_split.setdefault(named.group(1).lower(), []).append(path)
    found: dict[str, tuple[str, Iterator[Placed]]] = {}
    for name, paths in by_split.items():
        read_ = [read(path, fault) for path in paths]
        kinds = ", ".join(dict.fromkeys(kind for kind, _ in read_))
        found[name] = (kinds, itertools.chain.from_iterable(rows for _, rows in read_))
    return found
