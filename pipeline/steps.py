"""The steps and exit statuses of `python -m pipeline`, as pipeline/steps.toml declares them for both sides."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tomllib

FILE = Path(__file__).with_name("steps.toml")


@dataclass(frozen=True)
class Step:
    """What a step may touch and which flags it takes; steps.toml explains each field."""

    writes: tuple[str, ...]
    network: bool = False
    gpu: bool = False
    source: bool = False
    recipe: bool = False
    run: bool = False
    light: bool = False
    prepares: bool = False  # only prepares data
    parallel: bool = False
    verb: str | None = None


_DECLARED = tomllib.loads(FILE.read_text(encoding="utf-8"))

STEPS = {name: Step(**{**values, "writes": tuple(values["writes"])}) for name, values in _DECLARED["steps"].items()}
EXIT_STATUS: dict[str, int] = _DECLARED["exit_status"]
