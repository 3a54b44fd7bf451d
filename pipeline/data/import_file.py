"""A caller's own file of questions, taken over into data/NAME/raw/: checked, and every tenth context or row held out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline import json_stream
from pipeline.data.leakage import Seen
from pipeline.data.readers import instruction_rows
from pipeline.errors import Stop, need_space
from pipeline.files import new_folder, sha256, write_json
from pipeline.recipe import Recipe
from pipeline.sources import HELD_OUT, count, source
from pipeline.tatqa import schema

_RECORD = "file.json"  # in raw/: the hash of the file it was made of


def current(recipe: Recipe, file: Path) -> bool:
    """Whether what was taken over is this file, as it is now if it is still there; another of its name is another."""
    return _taken(recipe) == str(file) and (not file.is_file() or _record(recipe).get("sha256") == sha256(file))


def need_taken(recipe: Recipe, file: Path) -> None:
    """Raise Stop if the folder of this file's name holds another file's data."""
    if (taken := _taken(recipe)) and taken != str(file):
        raise Stop(
            f"the data of {file}",
            f"that of {taken}, which has its name",
            str(_folder(recipe)),
            f"invoke fetch --set data.source={file}, or rename one",
        )


def _taken(recipe: Recipe) -> str:
    return str(_record(recipe).get("file", ""))


def _record(recipe: Recipe) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((_folder(recipe) / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record


def take(recipe: Recipe, file: Path, say: Callable[[str], None]) -> None:
    """Split the file into train and heldout.

    Raises:
        Stop: no such file, broken, or fewer than two contexts or rows; what was there before is left then.
    """
    target = _folder(recipe)
    if current(recipe, file):
        say(f"data   {target}: there, " + (f"as {file.name} is" if file.is_file() else "taken over before"))
        return
    if not file.is_file():
        raise Stop(
            "a file of questions", "a folder" if file.is_dir() else "no such file", str(file), "check data.source"
        )
    if file.resolve().is_relative_to(target.resolve()):
        raise Stop(
            f"a file outside {target}, which its data is written to", str(file), "data.source", "move it elsewhere"
        )
    need_space(target, 2 * file.stat().st_size)
    contexts = file.suffix == ".json" and not _is_rows(file)
    total = count(file)
    written = {"train": 0, "heldout": 0}
    with new_folder(target) as aside:
        with contextlib.ExitStack() as files, Seen(aside) as seen:
            suffix, between = (".json", ",\n") if contexts else (".jsonl", "\n")
            open_ = {
                split: files.enter_context((aside / f"{split}{suffix}").open("w", encoding="utf-8"))
                for split in written
            }
            for number, item in enumerate(_items(file, contexts, seen)):
                split = (
                    "heldout"
                    if number % HELD_OUT == HELD_OUT - 1 or (total < HELD_OUT and number == total - 1)
                    else "train"
                )
                open_[split].write((between if written[split] else "[" if contexts else "") + json.dumps(item))
                written[split] += 1
            for each in open_.values():
                each.write("]\n" if contexts else "\n")
        if total < 2:
            raise Stop("at least two contexts or rows, one of them to be held out", str(total), str(file), "add some")
        write_json(aside / _RECORD, {"file": str(file), "sha256": sha256(file), **written})
    kind = "contexts" if contexts else "rows"
    say(f"data   {target}: {total} {kind} of {file.name}, {written['heldout']} of them held out to evaluate on")


def _folder(recipe: Recipe) -> Path:
    return Path("data") / source(recipe).name / "raw"


def _is_rows(file: Path) -> bool:
    first = next(iter(json_stream.elements(file)), None)
    return isinstance(first, dict) and "output" in first and "table" not in first


def _items(file: Path, contexts: bool, seen: Seen) -> Iterator[Any]:
    """The checked elements of a file, as they are written."""
    if contexts:
        for number, item in enumerate(json_stream.elements(file)):
            seen.uids("", number, schema.check(item, f"{file}, context {number}"), str(file))
            yield item
        return
    if file.suffix == ".jsonl":
        rows = instruction_rows.read(file, "")
    else:
        rows = (
            instruction_rows.row(item, f"{file}, row {number}", "")
            for number, item in enumerate(json_stream.elements(file))
        )
    for row in rows:
        yield {key: row[key] for key in ("instruction", "input", "output", "system")}
