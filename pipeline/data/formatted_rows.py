"""Formatted rows on disk: reading them, and whether they are current."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline import json_stream
from pipeline.errors import Stop
from pipeline.files import sha256
from pipeline.job import Job, Split
from pipeline.models import chat_template, control_tokens, reasoning, tool_calls, tool_schema, tool_text
from pipeline.tatqa import schema

REPORT = "report.json"
_CODE = (
    Path(__file__).with_name("format.py"),
    Path(chat_template.__file__),
    Path(control_tokens.__file__),
    Path(reasoning.__file__),
    Path(tool_text.__file__),
    Path(tool_calls.__file__),
    Path(tool_schema.__file__),
    Path(json_stream.__file__),
    *sorted(Path(__file__).with_name("readers").glob("*.py")),
    *sorted(Path(schema.__file__).parent.glob("*.py")),
)
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_LONGEST = {"answer": 60, "equation": 110}  # tokens of TAT-QA's longest answer by target


def read_report(folder: Path) -> dict[str, Any]:
    """What formatting counted of each split; empty where it has not run."""
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def answer_limit(job: Job) -> int:
    """Tokens at which an answer is cut off: evaluation.max_new_tokens, or 5/4 of the longest training answer."""
    if job.recipe.evaluation.max_new_tokens:
        return job.recipe.evaluation.max_new_tokens
    try:
        longest = int(read_report(job.formatted)["splits"][job.train.name]["answer_tokens"]["100"])
    except KeyError:  # not formatted yet
        longest = _LONGEST[job.recipe.data.target]
    return longest + longest // 4 + 1


def stale(job: Job) -> list[str]:
    """The splits whose rows are missing, or were made from another raw file or tokenizer, or by other code."""
    report, now = read_report(job.formatted), made_of(job)
    return [split.name for split in job.splits if report.get("made_of") != now or not _is_intact(split, report)]


def made_of(job: Job) -> dict[str, str]:
    """Hashes of what the rows are made of: raw splits, tokenizer files, code."""
    files = {f"raw {split.name}": split.raw for split in job.splits}
    files |= {name: job.base_model / name for name in _TOKENIZER}
    hashes = {name: sha256(path) if path.exists() else "missing" for name, path in files.items()}
    return {**hashes, "code": " ".join(sha256(file)[:12] for file in _CODE)}


def read_rows(path: Path, contexts: int = 0) -> list[dict[str, Any]]:
    """The rows of the first `contexts` contexts (0: all), in file order.

    Raises:
        Stop: no such file, an empty one, or not JSON lines.
    """
    try:
        size = path.stat().st_size
    except OSError:
        raise Stop("formatted rows", "no such file", str(path), "invoke data") from None
    if not size:
        todo = "take another split or file: data.train, data.evaluation, data.source"
        raise Stop("questions", "none in this split", str(path), todo)
    try:
        with path.open(encoding="utf-8") as file:  # not `splitlines`: a text may have a U+2028
            rows = [json.loads(line) for line in file]
    except ValueError as error:
        raise Stop("JSON lines made by invoke data", str(error), str(path), "invoke data") from None
    if not contexts:
        return rows
    chosen = set(list(dict.fromkeys(row["context"] for row in rows))[:contexts])
    return [row for row in rows if row["context"] in chosen]


def _is_intact(split: Split, report: dict[str, Any]) -> bool:
    return split.rows.exists() and bool(report["splits"][split.name]["rows_sha256"] == sha256(split.rows))
