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

_SIZE = r"[1-9]\d*[bkmg]?"  # as docker takes it


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
        Stop: a value that is no number or size.
    """
    default = Limits()
    return Limits(
        int(_value(environment, "PINTUNE_PIDS", r"[1-9]\d*", "a whole number such as 4096") or default.pids),
        _value(environment, "PINTUNE_MEMORY", _SIZE, "a size such as 12g or 900m") or default.memory,
        float(_value(environment, "PINTUNE_CPUS", r"(?=.*[1-9])\d+(\.\d+)?", "a number such as 1.5") or default.cpus),
        _value(environment, "PINTUNE_TMP", _SIZE, "a size such as 2g or 900m") or default.tmp,
    )


def threads(limits: Limits, processes: int) -> int:
    """Threads for each of `processes` under a limit of CPUs, 0 without one: torch counts all of the machine's."""
    return max(1, int(limits.cpus) // processes) if limits.cpus else 0


def _value(environment: Mapping[str, str], name: str, pattern: str, wanted: str) -> str:
    value = environment.get(name, "").strip().lower()
    if value and not re.fullmatch(pattern, value):
        raise Stop(wanted, repr(value), name, f"unset {name}, or give it {wanted}")
    return value
