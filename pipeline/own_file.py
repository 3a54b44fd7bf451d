"""A caller's own file of questions, taken over into data/NAME/raw/: checked, and every tenth context or row held out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import Stop, need_space
from pipeline.files import new_folder, sha256, write_json
from pipeline.recipe import Recipe
from pipeline.sources import HELD_OUT, source
from pipeline.tatqa import plain_rows, raw, schema

_RECORD = "file.json"  # in raw/: the hash of the file it was made of


def changed(recipe: Recipe, file: Path) -> bool:
    """Whether the file is another than the one that was taken over."""
    try:
        record = json.loads((_folder(recipe) / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return bool(record.get("sha256") != sha256(file))


def take(recipe: Recipe, file: Path, say: Callable[[str], None]) -> None:
    """Split the file into train and heldout.

    Raises:
        Stop: no such file, broken, or fewer than two contexts or rows; what was there before is left then.
    """
    target = _folder(recipe)
    if not file.exists():
        if target.exists():
            say(f"data   {target}: there, taken over before")
            return
        raise Stop("a file of questions", "no such file", str(file), "check data.source")
    if not changed(recipe, file):
        say(f"data   {target}: there, as {file.name} is")
        return
    need_space(target, 2 * file.stat().st_size)
    contexts = file.suffix == ".json" and not _is_rows(file)
    total = sum(1 for _ in _items(file, contexts))
    if total < 2:
        raise Stop("at least two contexts or rows, one of them to be held out", str(total), str(file), "add some")
    written = {"train": 0, "heldout": 0}
    with new_folder(target) as aside:
        with contextlib.ExitStack() as files:
            suffix, between = (".json", ",\n") if contexts else (".jsonl", "\n")
            open_ = {split: files.enter_context((aside / f"{split}{suffix}").open("w", encoding="utf-8")) for split in written}
            for number, item in enumerate(_items(file, contexts)):
                split = "heldout" if number % HELD_OUT == HELD_OUT - 1 or (total < HELD_OUT and number == total - 1) else "train"
                open_[split].write((between if written[split] else "[" if contexts else "") + json.dumps(item, ensure_ascii=False))
                written[split] += 1
            for each in open_.values():
                each.write("]\n" if contexts else "\n")
        write_json(aside / _RECORD, {"name": file.name, "sha256": sha256(file), **written})
    kind = "contexts" if contexts else "rows"
    say(f"data   {target}: {total} {kind} of {file.name}, {written['heldout']} of them held out to evaluate on")


def _folder(recipe: Recipe) -> Path:
    return Path("data") / source(recipe).name / "raw"


def _is_rows(file: Path) -> bool:
    first = next(iter(raw.elements(file)), None)
    return isinstance(first, dict) and "output" in first and "table" not in first


def _items(file: Path, contexts: bool) -> Iterator[Any]:
    """The checked elements of a file, as they are written."""
    if contexts:
        for number, item in enumerate(raw.elements(file)):
            schema.check(item, f"{file}, context {number}")
            yield item
        return
    if file.suffix == ".jsonl":
        rows = plain_rows.read(file, "")
    else:
        rows = (plain_rows.row(item, f"{file}, row {number}", "") for number, item in enumerate(raw.elements(file)))
    for row in rows:
        yield {key: row[key] for key in ("instruction", "input", "output", "system")}
