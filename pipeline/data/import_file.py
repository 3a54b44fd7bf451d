"""Import a user's file of questions into data/NAME/raw/: checked, with every tenth context or row held out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline import json_stream
from pipeline.data import readers
from pipeline.data.leakage import LeakageIndex
from pipeline.data.readers import instruction_rows
from pipeline.errors import Stop, need_space
from pipeline.files import atomic_folder, sha256, write_json
from pipeline.sources import HELD_OUT
from pipeline.tatqa import schema

_RECORD = "file.json"  # in the raw folder: the hash of the file that was imported


def is_current(file: Path, raw: Path) -> bool:
    """Whether the raw folder holds this file as it is now, if it still exists."""
    record = _record(raw)
    if record.get("file") != str(file):
        return False
    return not file.is_file() or record.get("sha256") == sha256(file)


def need_imported(file: Path, raw: Path) -> None:
    """Raise Stop if the raw folder holds the data of another file of the same name."""
    imported = _record(raw).get("file")
    if imported and imported != str(file):
        found = f"that of {imported}, which has its name"
        raise Stop(f"the data of {file}", found, str(raw), f"invoke fetch --set data.source={file}, or rename one")


def import_splits(file: Path, raw: Path, say: Callable[[str], None]) -> None:
    """Split the file into train and heldout, in the folder `raw`.

    Raises:
        Stop: no such file, a broken one, or fewer than two contexts or rows; an earlier import is kept then.
    """
    if is_current(file, raw):
        say(f"data   {raw}: there, " + (f"as {file.name} is" if file.is_file() else "imported before"))
        return
    if not file.is_file():
        found = "a folder" if file.is_dir() else "no such file"
        raise Stop("a file of questions", found, str(file), "check data.source")
    if file.resolve().is_relative_to(raw.resolve()):
        raise Stop(f"a file outside {raw}, where its data is written to", str(file), "data.source", "move it elsewhere")
    need_space(raw, 2 * file.stat().st_size)
    contexts = file.suffix == ".json" and not _has_rows(file)
    total = readers.count(file)
    with atomic_folder(raw) as staging:
        written = _write(file, staging, contexts, total)  # checks every element
        if total < 2:
            raise Stop("at least two contexts or rows, one of them to be held out", str(total), str(file), "add some")
        write_json(staging / _RECORD, {"file": str(file), "sha256": sha256(file), **written})
    kind = "contexts" if contexts else "rows"
    say(f"data   {raw}: {total} {kind} of {file.name}, {written['heldout']} of them held out to evaluate on")


def _write(file: Path, folder: Path, contexts: bool, total: int) -> dict[str, int]:
    """Write both splits; returns the number of elements of each."""
    written = {"train": 0, "heldout": 0}
    suffix, separator = (".json", ",\n") if contexts else (".jsonl", "\n")
    with contextlib.ExitStack() as stack, LeakageIndex(folder) as index:
        files = {
            split: stack.enter_context((folder / f"{split}{suffix}").open("w", encoding="utf-8")) for split in written
        }
        for number, item in enumerate(_items(file, contexts, index)):
            tenth = number % HELD_OUT == HELD_OUT - 1
            split = "heldout" if tenth or (total < HELD_OUT and number == total - 1) else "train"
            files[split].write((separator if written[split] else "[" if contexts else "") + json.dumps(item))
            written[split] += 1
        for each in files.values():
            each.write("]\n" if contexts else "\n")
    return written


def _record(raw: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((raw / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record


def _has_rows(file: Path) -> bool:
    first = next(iter(json_stream.elements(file)), None)
    return isinstance(first, dict) and "output" in first and "table" not in first


def _items(file: Path, contexts: bool, index: LeakageIndex) -> Iterator[Any]:
    """The checked elements of a file, as they are written to a split."""
    if contexts:
        for number, item in enumerate(json_stream.elements(file)):
            index.add_uids("", number, schema.check(item, f"{file}, context {number}"), str(file))
            yield item
        return
    if file.suffix == ".jsonl":
        rows = instruction_rows.read(file, "")
    else:
        elements = enumerate(json_stream.elements(file))
        rows = (instruction_rows.row(item, f"{file}, row {number}", "") for number, item in elements)
    for row in rows:
        yield {key: row[key] for key in ("instruction", "input", "output", "system")}
