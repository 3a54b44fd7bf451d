"""Import a user's file or folder into data/NAME/raw/: read in the form that it has, checked, and split.

A data set that has a split to hold out keeps it; of any other, every tenth context or row is held out. Duplicates (rows
with the same question, contexts with a copied or nearly the same table) go to one split together.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.data.imported_items import ImportedItems
from pipeline.data.leakage import LeakageIndex
from pipeline.data.readers import conversation, data_folder, forms, records
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop, need_space
from pipeline.files import atomic_folder, sha256, write_json
from pipeline.sources import HELD_OUT
from pipeline.tatqa import schema

_RECORD = "file.json"  # in the raw folder: the hash of the file that was imported
_FORM = 5  # of the import; another form is imported again
_UNZIPPED = 12  # times the size of a gzip file, at most for text like this

Say = Callable[[str], None]


def is_current(file: Path, columns: Mapping[str, str], raw: Path) -> bool:
    """Whether the raw folder holds this file as it is now, if it still exists."""
    record = _record(raw)
    if (record.get("file"), record.get("form"), record.get("columns")) != (str(file), _FORM, dict(columns)):
        return False
    return not file.exists() or record.get("sha256") == _sha256(file, record.get("documents", []))


def need_imported(file: Path, raw: Path) -> None:
    """Raise Stop if the raw folder holds the data of another file of the same name."""
    imported = _record(raw).get("file")
    if imported and imported != str(file):
        found = f"that of {imported}, which has its name"
        raise Stop(f"the data of {file}", found, str(raw), f"invoke fetch --set data.source={file}, or rename one")


def import_splits(file: Path, columns: Mapping[str, str], raw: Path, say: Say) -> None:
    """Split the file into train and heldout, in the folder `raw`.

    Args:
        columns: names of the form that the file has -> names of its columns.

    Raises:
        Stop: no such file, rows that cannot be read (the first ten are named), or fewer than two contexts or rows; an
        earlier import is kept then.
    """
    if is_current(file, columns, raw):
        say(f"data   {raw}: there, " + (f"as {file.name} is" if file.exists() else "imported before"))
        return
    if not file.exists():
        raise Stop("a file of questions", "no such file", str(file), "check data.source")
    if file.resolve().is_relative_to(raw.resolve()) or raw.resolve().is_relative_to(file.resolve()):
        raise Stop(f"a file outside {raw}, where its data is written to", str(file), "data.source", "move it elsewhere")
    need_space(raw, 3 * _size(file))
    reading = Reading(file if file.is_dir() else file.parent)
    with atomic_folder(raw) as staging, ImportedItems(staging) as items:
        contexts, kind, merged, own_splits = _read(file, columns, items, reading)
        groups = _groups(items, staging, contexts, str(file))
        last = max(groups, default=-1)
        if contexts and last == 0 and len(groups) > 1 and not own_splits:
            say(
                f"data   all {len(groups)} contexts of {file.name} have one table: those held out are no test of others"
            )
            groups, last = array("q", range(len(groups))), len(groups) - 1
        if last < 1 and not own_splits:
            wanted = "at least two contexts or rows that differ, one of them to be held out"
            found = str(len(groups)) if last < 0 or len(groups) == 1 else f"{len(groups)} copies of one"
            raise Stop(wanted, found, str(file), "add some")
        written = _write(items, staging, contexts, groups, last, own_splits)
        # a folder's own hash has its documents
        documents = (
            [] if file.is_dir() else sorted(str(path.relative_to(file.parent)) for path in reading.read_documents)
        )
        record = {"form": _FORM, "file": str(file), "sha256": _sha256(file, documents), "columns": dict(columns)}
        write_json(staging / _RECORD, {**record, **written, "documents": documents})
    what = "contexts" if contexts else "rows"
    say(f"data   {file.name}: {kind}")
    more = [f"{merged} contexts merged with others of the same table"] if merged else []
    more += [f"{items.copies} questions without a uid that are copies of others, left out"] if items.copies else []
    for line in (*reading.lines(), *more):
        say(f"data   {file.name}: {line}")
    held_out = "as in the data set" if own_splits else "to evaluate on"
    say(f"data   {raw}: {len(groups)} {what} of {file.name}, {written['heldout']} of them held out {held_out}")


def _read(
    file: Path, columns: Mapping[str, str], items: ImportedItems, reading: Reading
) -> tuple[bool, str, int, bool]:
    """Read all rows into `items`.

    Returns:
        Whether they are contexts, what they are in words, how many were merged, and whether they have splits.
    """
    splits = data_folder.splits(file, reading) if file.is_dir() else {"": records.read(file, reading.add_fault)}
    form, merged = None, 0
    for name, (_, rows) in splits.items():
        split = "" if len(splits) == 1 else "train" if name == "train" else "heldout"
        where = f"{file}, split {name}" if split else str(file)
        rows = forms.unwrapped(reading.until_broken(rows), reading)
        if (first := next(rows, None)) is None:
            reading.need_none("", where)
        rows = itertools.chain([first] if first else [], rows)
        found, rows = forms.recognise(forms.renamed(rows, columns, where), where)
        if form is not None and found != form:
            raise Stop(f"one form of rows in all splits: {form.name}", found.name, where, "pass one file")
        form = found
        for place, item in forms.read(form, rows, reading):
            if form.contexts:
                merged += items.add_context(split, place, item)
            else:
                items.add(split, place, item)
    assert form is not None  # there is at least one split
    forms.need_answers(reading, items.count, str(file))
    reading.need_none(form.name, str(file))
    kinds = dict.fromkeys(kind for kind, _ in splits.values())
    return form.contexts, ", ".join([*kinds, form.name.partition(":")[0]]), merged, len(splits) > 1


def _groups(items: ImportedItems, folder: Path, contexts: bool, where: str) -> array[int]:
    """The group of duplicates that each item belongs to, groups numbered from 0 in order."""
    # each item is added to the index under its own number; an item that is like others joins their groups
    parents = array("q")

    def root(number: int) -> int:
        while parents[number] != number:
            number = parents[number]
        return number

    with LeakageIndex(folder) as index:
        for number, (split, place, item) in enumerate(items):
            parents.append(number)
            alike: list[str | None] = []
            if contexts:
                context = schema.check(item, place)
                index.add_uids(split, number, context, where)
                notes = [text for _, text in context.notes]
                alike.append(index.add_text(str(number), json.dumps([context.rows, notes])))
                near = index.add_table(str(number), context)
                alike.append(near[0] if near else None)
            else:
                alike.append(index.add_text(str(number), conversation.question(item)))
            for other in alike:
                if other is not None:
                    first, second = sorted((root(number), root(int(other))))
                    parents[second] = first
    roots = {first: group for group, first in enumerate(dict.fromkeys(map(root, parents)))}
    return array("q", (roots[root(number)] for number in parents))


def _write(
    items: ImportedItems, folder: Path, contexts: bool, groups: Sequence[int], last: int, own_splits: bool
) -> dict[str, int]:
    """Write both splits, every tenth group held out if there are none; returns the number of items of each."""
    written = {"train": 0, "heldout": 0}
    suffix, separator = (".json", ",\n") if contexts else (".jsonl", "\n")
    with contextlib.ExitStack() as stack:
        paths = {split: folder / f"{split}{suffix}" for split in written}
        files = {split: stack.enter_context(path.open("w", encoding="utf-8")) for split, path in paths.items()}
        for group, (own, _, item) in zip(groups, items, strict=True):
            tenth = group % HELD_OUT == HELD_OUT - 1
            chosen = "heldout" if tenth or (last + 1 < HELD_OUT and group == last) else "train"
            split = own if own_splits else chosen
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


def _sha256(file: Path, documents: Sequence[str]) -> str:
    """The hash of a file, with that of the documents beside it that were read, or of a folder's names and files."""
    folder = file if file.is_dir() else file.parent
    if file.is_dir():
        paths = data_folder.fingerprint(file)
    elif documents:
        paths = [file, *(folder / name for name in documents)]
    else:
        return sha256(file)
    lines = (f"{path.relative_to(folder)} {sha256(path) if path.is_file() else 'missing'}\n" for path in paths)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _size(file: Path) -> int:
    paths = data_folder.fingerprint(file) if file.is_dir() else [file]
    return sum(path.stat().st_size * (_UNZIPPED if path.suffix == ".gz" else 1) for path in paths)
