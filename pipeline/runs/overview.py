"""All runs at a glance, with what cannot be read named: the rows of the tab in TensorBoard."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.runs import store


def rows(runs: Path) -> list[dict[str, Any]]:
    """A row for each run under `runs`, the newest first.

    name (RECIPE/ID), state, steps, loss (of the last step, nats per answer token), em_base, em and f1 (percent), and
    report (whether there is one); None for what a run does not have. A broken run's state says what is wrong.
    """
    found = [_row(folder) for folder in runs.glob("*/[0-9]*") if folder.is_dir() and not folder.is_symlink()]
    return sorted(found, key=lambda row: (row["name"].rpartition("/")[2], row["name"]), reverse=True)


def as_json(runs: Path) -> bytes:
    """The rows, for a page."""
    return json.dumps(rows(runs), allow_nan=False).encode()


def _row(folder: Path) -> dict[str, Any]:
    manifest, broken = _read(folder / store.MANIFEST)
    evaluation, also_broken = _read(folder / "evaluation.json")
    training = manifest.get("training")
    training = training if isinstance(training, dict) else {}
    state = "unfinished" if (folder / store.UNFINISHED).exists() else "no manifest.json"
    state = broken or also_broken or (("evaluated" if evaluation else "trained") if manifest else state)
    return {
        "name": f"{folder.parent.name}/{folder.name}",
        "state": state,
        "steps": training.get("steps"),
        "loss": training.get("last_loss"),
        "em_base": _percent(evaluation, "base", "em"),
        "em": _percent(evaluation, "tuned", "em"),
        "f1": _percent(evaluation, "tuned", "f1"),
        "report": (folder / "report.html").is_file(),
    }


def _percent(evaluation: dict[str, Any], who: str, key: str) -> float | None:
    try:
        return round(100 * float(evaluation[who]["all"][key]), 1)
    except (KeyError, TypeError, ValueError):
        return None


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """A file's JSON object, empty if there is none; and what is wrong with it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: None)
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError) as error:
        return {}, f"broken: {path.name}: {error}"[:200]
    return (found, "") if isinstance(found, dict) else ({}, f"broken: {path.name}: no JSON object")
