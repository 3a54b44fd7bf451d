"""Formatting raw splits into JSON lines, and reading them back.

python -m pipeline format       # data/SOURCE/LANGUAGE/SPLIT.jsonl, and SPLIT.json with what it was made of
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import folders
from pipeline.errors import Stop
from pipeline.fetch import check_raw, splits
from pipeline.files import new_copy, sha256, write_json
from pipeline.recipe import Recipe
from pipeline.tatqa import format, schema


def format_splits(recipe: Recipe, say: Callable[[str], None]) -> None:
    """Write the rows of both splits of a recipe.

    Raises:
        Stop: a raw file that is missing or not in the schema; no formatted file is changed then.
    """
    source, language = recipe.data.source, recipe.data.language
    loaded = {}
    for split in dict.fromkeys(splits(recipe)):
        check_raw(source, split)
        loaded[split] = schema.load(folders.raw_split(source, split))
    for split, contexts in loaded.items():
        target = folders.formatted_split(source, language, split)
        kinds: Counter[str] = Counter()
        scales: Counter[str] = Counter()
        with new_copy(target) as aside, aside.open("w", encoding="utf-8") as file:
            for context in contexts:
                for row in format.rows(context, language):
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                    kinds[row["answer_type"]] += 1
                    scales[row["scale"] or "none"] += 1
        made = {**_made_of(source, split), "rows_sha256": sha256(target), "contexts": len(contexts), "questions": kinds.total(),
                "answer_types": dict(kinds), "scales": dict(scales)}  # fmt: skip
        write_json(target.with_suffix(".json"), made)
        listed = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        say(f"data   {target}: {len(contexts)} contexts, {kinds.total()} questions ({listed})")


def unformatted(recipe: Recipe) -> list[str]:
    """The splits whose rows are not there, or were made of another raw file or by other code."""
    return [split for split in dict.fromkeys(splits(recipe)) if not _current(recipe, split)]


def _current(recipe: Recipe, split: str) -> bool:
    target = folders.formatted_split(recipe.data.source, recipe.data.language, split)
    try:
        made = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
        return _made_of(recipe.data.source, split).items() <= made.items() and bool(made["rows_sha256"] == sha256(target))
    except (OSError, ValueError, KeyError):
        return False


def _made_of(source: str, split: str) -> dict[str, str]:
    code = (Path(format.__file__), Path(schema.__file__))
    raw = folders.raw_split(source, split)
    return {"raw_sha256": sha256(raw) if raw.exists() else "missing", "code_sha256": " ".join(sha256(file)[:16] for file in code)}


def read_rows(path: Path, contexts: int = 0) -> list[dict[str, Any]]:
    """The rows of the first `contexts` contexts (0: all), in file order.

    Raises:
        Stop: not there, or not JSON lines.
    """
    import datasets  # heavy, and only for this

    if not path.exists():
        raise Stop("formatted rows", "no such file", str(path), "invoke data")
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache:
        try:
            rows = list(datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache))
        except (datasets.exceptions.DatasetGenerationError, ValueError, StopIteration) as error:
            raise Stop("JSON lines made by invoke data", str(error.__cause__ or error) or "no lines", str(path), "invoke data") from None
    if not contexts:
        return rows
    chosen = list(dict.fromkeys(row["context"] for row in rows))[:contexts]
    return [row for row in rows if row["context"] in set(chosen)]
