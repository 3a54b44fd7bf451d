"""The steps of the pipeline and its exit statuses, from pipeline/steps.toml, which both sides read."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from images import matrix
from images.errors import Stop, line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = matrix.ROOT / "pipeline" / "steps.toml"


@dataclass(frozen=True)
class Step:
    """What a step takes and what it may touch."""

    name: str
    writes: tuple[str, ...]  # folders that it may write to
    network: bool = False  # may use the network
    gpu: bool = False  # computes on the GPU of a CUDA flavor
    source: bool = False  # reads the file that data.source names
    recipe: bool = False  # takes --recipe and --set
    run: bool = False  # takes --run
    light: bool = False  # needs only Python's standard library
    prepares: bool = False  # only prepares data
    parallel: bool = False  # several processes may run it together
    verb: str = ""  # that repeats it with the same recipe and settings; "" for none


@dataclass(frozen=True)
class ExitStatus:
    """How a step ends."""

    done: int
    stopped: int  # with a message
    usage: int  # a wrong command line
    paused: int  # a training that received SIGTERM and saved
    interrupted: int
    broken_pipe: int


@dataclass(frozen=True)
class Steps:
    """The file's contents."""

    steps: Mapping[str, Step]
    exit_status: ExitStatus


def load(path: Path = FILE) -> Steps:
    """Read and check a file of steps.

    Raises:
        Stop: missing, not TOML, or a key that is missing, unknown or of the wrong type.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        statuses = ExitStatus(**raw["exit_status"])
        if not all(type(getattr(statuses, each.name)) is int for each in fields(ExitStatus)):
            raise TypeError("an exit status that is not an integer")
        return Steps({name: _step(name, body) for name, body in raw["steps"].items()}, statuses)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Stop("the steps of the pipeline, in TOML", line(error), str(path), f"git checkout {path.name}") from None


def _step(name: str, body: Mapping[str, Any]) -> Step:
    made = Step(name, **{"verb": name, **body, "writes": tuple(body["writes"])})
    if not all(isinstance(folder, str) for folder in made.writes):
        raise TypeError(f"steps.{name}.writes: not a list of strings")
    if not isinstance(made.verb, str):
        raise TypeError(f"steps.{name}.verb: not a string")
    if wrong := [key for key, value in body.items() if key not in ("writes", "verb") and type(value) is not bool]:
        raise TypeError(f"steps.{name}.{wrong[0]}: not a boolean")
    return made


@functools.lru_cache(maxsize=1)
def _known() -> Steps:
    return load()


def get(name: str) -> Step:
    """A step by name."""
    return _known().steps[name]


def exit_status() -> ExitStatus:
    """The exit statuses."""
    return _known().exit_status
