"""A folder as a source: a Hugging Face data set on disk, or files that are named after their splits.

my-set/dataset_dict.json, my-set/train/…    # what datasets' save_to_disk writes
my-set/data/train-00000-of-00001.parquet    # a repository of the hub; also train.jsonl, dev.csv, test.json.gz

A file is of a split if exactly one word of its name is the split's; `train_dev.json` is of none. A split has one file,
or several whose names differ only in numbers. Hidden files, and files with other endings (`.bak`), are not read.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.readers import labels
from pipeline.data.readers.reading import LISTED, Reading
from pipeline.data.readers.records import read, without_nothing
from pipeline.errors import Stop, one_line
from pipeline.json_stream import Placed

_HELD_OUT = ("validation", "valid", "val", "dev", "eval", "heldout", "test")  # the first that is there is held out
_ENDING = re.compile(r"\.(json|jsonl|ndjson|csv|tsv|parquet)(\.gz)?$", re.IGNORECASE)


def splits(folder: Path, reading: Reading) -> dict[str, tuple[str, Iterator[Placed]]]:
    """The rows by split: "train", and the split to hold out by its own name if there is one; and what they are.

    What is not read is a note of `reading`.

    Raises:
        Stop: no data set, none with a split to train on, or files of one split that are not parts of one.
    """
    saved = (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
    found: dict[str, Any] = _saved(folder) if saved else _files(folder, reading)
    if "train" not in found:
        wanted = "a data set's folder, or files named train.…, and dev.… or test.… to hold out"
        inside = _listed(sorted(found) or sorted(path.name for path in folder.iterdir())) or "nothing"
        raise Stop(wanted, inside, str(folder), "pass one file of it by data.source")
    held_out = next((name for name in _HELD_OUT if name in found), "")
    used = [name for name in ("train", held_out) if name]
    if unused := [name for name in found if name not in used]:
        reading.notes[f"splits that are not used: {_listed(unused)}"] = len(unused)
    if saved:
        return {name: ("a Hugging Face data set", _rows(folder, name, found[name])) for name in used}
    return {name: _read(name, found[name], folder, reading) for name in used}


def fingerprint(folder: Path) -> list[Path]:
    """The files of a folder that make the data set, in name order."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not is_hidden(path, folder))


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a file below a folder, or a folder between them, is hidden."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _saved(folder: Path) -> dict[str, Any]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError) as error:
        raise Stop("a data set that datasets can load", one_line(error), str(folder), "save it again") from None
    return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}


def _rows(folder: Path, split: str, rows: Any) -> Iterator[Placed]:
    for number, row in enumerate(rows):
        named = {key: labels.named(value, rows.features[key]) for key, value in row.items()}
        yield f"{folder}, {split}, row {number}", without_nothing(named)


def _files(folder: Path, reading: Reading) -> dict[str, list[Path]]:
    """The files of each split."""
    by_split: dict[str, list[Path]] = {}
    ignored = []
    for path in sorted((*folder.glob("*"), *(folder / "data").glob("*"))):
        if path.is_file():
            if name := _split_of(path.name):
                by_split.setdefault(name, []).append(path)
            else:
                ignored.append(str(path.relative_to(folder)))
    if ignored:
        reading.notes[f"files that are of no split and not read as one: {_listed(ignored)}"] = len(ignored)
    return by_split


def _split_of(name: str) -> str:
    """The split that a file's name says; "" if it says none or two, or has another ending."""
    bare = _ENDING.sub("", name)
    if name.startswith(".") or (bare == name and not re.fullmatch(r"[\w-]+", bare)):
        return ""
    words = set(re.split(r"[\W\d_]+", bare.lower()))
    named = [split for split in ("train", *_HELD_OUT) if split in words]
    return named[0] if len(named) == 1 else ""


def _read(split: str, paths: Sequence[Path], folder: Path, reading: Reading) -> tuple[str, Iterator[Placed]]:
    """What the files of a split are, and their rows."""
    alike = {(path.parent, re.sub(r"(?<=[-_.])\d+", "0", path.name)) for path in paths}
    if len(alike) > 1:
        names = _listed([str(path.relative_to(folder)) for path in paths])
        todo = f"leave one file of {split} there, or number them as {split}-1.jsonl, {split}-2.jsonl"
        raise Stop(f"one file of the split {split}, or numbered parts of one", names, str(folder), todo)
    if (of := re.search(r"-of-(\d+)", paths[0].name)) and int(of.group(1)) != len(paths):
        wanted = f"{int(of.group(1))} files, as {paths[0].name} says"
        raise Stop(wanted, f"{len(paths)}", str(paths[0].parent), "fetch or copy the others, too")
    found = [read(path, reading.add_fault) for path in paths]
    kinds = ", ".join(dict.fromkeys(kind for kind, _ in found))
    return kinds, itertools.chain.from_iterable(rows for _, rows in found)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
