"""The runs there are, as a table: runs/RECIPE/ID/ with its manifest and evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_HEAD = ("run", "questions", "EM base", "tuned", "F1", "loss", "time", "adapter", "state")


def rows(root: Path) -> list[tuple[str, ...]]:
    """One row per run folder, oldest first."""
    return [_row(folder) for folder in sorted(root.glob("runs/*/[0-9]*")) if folder.is_dir()]


def table(root: Path) -> str:
    """The rows under a head, columns aligned; a line of advice where there is none."""
    found = rows(root)
    if not found:
        return "no runs yet; next: invoke train"
    lines = [_HEAD, *found]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _row(folder: Path) -> tuple[str, ...]:
    name = f"{folder.parent.name}/{folder.name}"
    manifest, evaluation = _read(folder / "manifest.json"), _read(folder / "evaluation.json")
    try:
        training = manifest["training"]
        loss, seconds, adapter = f"{training['last_loss']:.3f}", f"{training['seconds']:.0f} s", training["adapter_sha256"][:12]
    except (KeyError, TypeError, ValueError):
        state = "unfinished: invoke train --resume" if (folder / "unfinished.json").exists() else "no manifest: delete it"
        return (name, "", "", "", "", "", "", "", state)
    state = "merged" if (folder / "merged" / "config.json").exists() else "trained"
    try:
        em, f1 = (tuple(100 * evaluation[who]["all"][key] for who in ("base", "tuned")) for key in ("em", "f1"))
    except (KeyError, TypeError):
        return (name, "", "", "", "", loss, seconds, adapter, state)
    return (name, str(evaluation["questions"]), f"{em[0]:.1f}", f"{em[1]:.1f}", f"{f1[1]:.1f}", loss, seconds, adapter, state)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
