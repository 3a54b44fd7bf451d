"""The limits of a step's container, which environment variables set: processes, memory, CPUs, and the size of /tmp.

Memory and CPUs have none by default: a step checks what is free before it loads a model, and a training is meant to
have the machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from images.errors import Stop

NAMES = ("PINTUNE_PIDS", "PINTUNE_MEMORY", "PINTUNE_CPUS", "PINTUNE_TMP")
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}


@dataclass(frozen=True)
class _Kind:
    """What a variable may hold, in words and as a pattern, and the bounds of its number or of its bytes."""

    wanted: str
    pattern: str
    least: float
    most: float


# Bounds of the kernel and of Docker 26: with one process its init cannot start the step
_PIDS = _Kind("a whole number from 2 to 4194304, such as 4096", r"\d{1,9}", 2, 2**22)
_MEMORY = _Kind("a size of at least 6m, such as 12g or 900m", r"\d{1,15}[bkmg]?", 6 * 2**20, 2**60)
_CPUS = _Kind("a number of at least 0.01, such as 1.5", r"\d{1,9}(\.\d+)?", 0.01, 2**30)
_TMP = _Kind("a size of at least 1m, such as 2g or 900m", r"\d{1,15}[kmg]?", 2**20, 2**60)  # mount takes no "b"


@dataclass(frozen=True)
class Limits:
    """The limits of a container, each named as its variable is without PINTUNE_."""

    pids: int = 4096  # processes and threads
    memory: str = ""  # such as 12g, swap included; "" is no limit
    cpus: float = 0  # such as 1.5; 0 is no limit
    tmp: str = "2g"  # in memory, and only what is written counts


def of(environment: Mapping[str, str] = os.environ) -> Limits:
    """The limits that PINTUNE_PIDS, PINTUNE_MEMORY, PINTUNE_CPUS and PINTUNE_TMP set.

    Raises:
        Stop: a value that is no number or size, or one that no engine takes.
    """
    default = Limits()
    return Limits(
        int(_value(environment, "PINTUNE_PIDS", _PIDS) or default.pids),
        _value(environment, "PINTUNE_MEMORY", _MEMORY) or default.memory,
        float(_value(environment, "PINTUNE_CPUS", _CPUS) or default.cpus),
        _value(environment, "PINTUNE_TMP", _TMP) or default.tmp,
    )


def threads(limits: Limits, processes: int) -> int:
    """Threads for each of `processes` under a limit of CPUs, 0 without one: torch counts all of the machine's."""
    return max(1, int(limits.cpus) // processes) if limits.cpus else 0


def _value(environment: Mapping[str, str], name: str, kind: _Kind) -> str:
    value = environment.get(name, "").strip().lower()
    if value and not (re.fullmatch(kind.pattern, value) and kind.least <= _amount(value) <= kind.most):
        raise Stop(kind.wanted, repr(value[:60]), name, f"unset {name}, or give it {kind.wanted}")
    return value


def _amount(value: str) -> float:
    """A number, or a size in bytes."""
    return float(value.rstrip("bkmg")) * _UNITS.get(value[-1], 1)
