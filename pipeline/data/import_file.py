"""Import a user's file of questions into data/NAME/raw/: checked, with every tenth context or row held out.

Duplicates (rows with the same question, contexts with a copied or nearly the same table) go to one split together.
"""

from __future__ import annotations

import contextlib
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline import json_stream
from pipeline.data.leakage import LeakageIndex
from pipeline.data.readers import instruction_rows
from pipeline.errors import Stop, need_space
from pipeline.files import atomic_folder, sha256, write_json
from pipeline.sources import HELD_OUT
from pipeline.tatqa import schema

_RECORD = "file.json"  # in the raw folder: the hash of the file that was imported
_FORM = 2  # of the import; another form is imported again


def is_current(file: Path, raw: Path) -> bool:
    """Whether the raw folder holds this file as it is now, if it still exists."""
    record = _record(raw)
    if record.get("file") != str(file) or record.get("form") != _FORM:
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
    with atomic_folder(raw) as staging:
        groups = _groups(file, staging, contexts)  # checks every element
        last = max(groups, default=-1)
        if contexts and last == 0 and len(groups) > 1:
            say(
                f"data   all {len(groups)} contexts of {file.name} have one table: those held out are no test of others"
            )
            groups, last = array("q", range(len(groups))), len(groups) - 1
        if last < 1:
            wanted = "at least two contexts or rows that differ, one of them to be held out"
            found = str(len(groups)) if last < 0 or len(groups) == 1 else f"{len(groups)} copies of one"
            raise Stop(wanted, found, str(file), "add some")
        written = _write(file, staging, contexts, groups, last)
        write_json(staging / _RECORD, {"form": _FORM, "file": str(file), "sha256": sha256(file), **written})
    kind = "contexts" if contexts else "rows"
    say(f"data   {raw}: {len(groups)} {kind} of {file.name}, {written['heldout']} of them held out to evaluate on")


def _groups(file: Path, folder: Path, contexts: bool) -> array[int]:
    """The group of duplicates that each element belongs to, groups numbered from 0 in file order."""
    # each element is added to the index under its own number; an element that is like others joins their groups
    parents = array("q")

    def root(number: int) -> int:
        while parents[number] != number:
            number = parents[number]
        return number

    with LeakageIndex(folder) as index:
        for number, item in enumerate(_items(file, contexts)):
            parents.append(number)
            alike: list[str | None] = []
            if contexts:
                context = schema.check(item, f"{file}, context {number}")
                index.add_uids("", number, context, str(file))
                alike.append(index.add_text(str(number), json.dumps([context.rows, context.notes])))
                near = index.add_table(str(number), context)
                alike.append(near[0] if near else None)
            else:
                alike.append(index.add_text(str(number), f"{item['instruction']}\n{item['input']}"))
            for other in alike:
                if other is not None:
                    first, second = sorted((root(number), root(int(other))))
                    parents[second] = first
    roots = {first: group for group, first in enumerate(dict.fromkeys(map(root, parents)))}
    return array("q", (roots[root(number)] for number in parents))


def _write(file: Path, folder: Path, contexts: bool, groups: Sequence[int], last: int) -> dict[str, int]:
    """Write both splits, every tenth group held out; returns the number of elements of each."""
    written = {"train": 0, "heldout": 0}
    suffix, separator = (".json", ",\n") if contexts else (".jsonl", "\n")
    with contextlib.ExitStack() as stack:
        paths = {split: folder / f"{split}{suffix}" for split in written}
        files = {split: stack.enter_context(path.open("w", encoding="utf-8")) for split, path in paths.items()}
        for group, item in zip(groups, _items(file, contexts), strict=True):
            tenth = group % HELD_OUT == HELD_OUT - 1
            split = "heldout" if tenth or (last + 1 < HELD_OUT and group == last) else "train"
            files[split].write((separator if written[split] else "[" if contexts else "") + json.dumps(item))
            written[split] += 1
        for each in files.values():
            each.write("]\n" if contexts else "\n")
    return written


def _record(raw: Path) -> dict[str, Any]:
    try:
        record = json.loads((raw / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _has_rows(file: Path) -> bool:
    first = next(iter(json_stream.elements(file)), None)
    return isinstance(first, dict) and "output" in first and "table" not in first


def _items(file: Path, contexts: bool) -> Iterator[Any]:
    """The elements of a file, as they are written to a split; rows are checked."""
    if contexts:
        yield from json_stream.elements(file)
        return
    if file.suffix == ".jsonl":
        rows = instruction_rows.read(file, "")
    else:
        elements = enumerate(json_stream.elements(file))
        rows = (instruction_rows.row(item, f"{file}, row {number}", "") for number, item in elements)
    for row in rows:
        yield {key: row[key] for key in ("instruction", "input", "output", "system")}
