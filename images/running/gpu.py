"""The NVIDIA driver and GPUs of this machine, as nvidia-smi reports them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace

# `nvidia-smi` comes with every driver, and reads these from NVML
QUERY = ("nvidia-smi", "--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader,nounits")
# drivers before 510 do not know compute_cap, and are too old for every flavor
OLD_QUERY = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    name: str
    capability: tuple[int, int]  # compute capability, major and minor; (0, 0) where the driver does not say
    memory: int  # bytes; 0 where the driver does not say, as for memory shared with the CPU


@dataclass(frozen=True)
class Seen:
    """The driver and its GPUs; empty without any, with the reason in `trouble` if the driver fails."""

    driver: str = ""
    gpus: tuple[Gpu, ...] = ()
    trouble: str = ""


def look(environment: Mapping[str, str] = os.environ) -> Seen:
    """What `nvidia-smi` reports, limited to the GPUs of CUDA_VISIBLE_DEVICES."""
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=30)
        if "compute_cap" in done.stdout + done.stderr:
            done = subprocess.run(OLD_QUERY, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        return Seen()
    except (OSError, subprocess.TimeoutExpired) as error:
        if isinstance(error, PermissionError) and not shutil.which("nvidia-smi"):
            return Seen()  # the PATH has a folder that may not be read, which says nothing of a driver
        return Seen(trouble=f"nvidia-smi does not answer: {error}")
    output = (done.stderr.strip() or done.stdout.strip()).splitlines()
    if output and "no devices were found" in output[-1].lower():
        return Seen()
    if done.returncode:
        reason = output[-1][:200] if output else "no output"
        return Seen(trouble=f"nvidia-smi ended with status {done.returncode}: {reason}")
    return visible(parse(done.stdout), environment.get("CUDA_VISIBLE_DEVICES"))


def parse(listing: str) -> Seen:
    """The output of QUERY or OLD_QUERY, a line for each GPU: `Tesla T4, 7.5, 15360, 535.183.01`, memory in MiB."""
    gpus, driver = [], ""
    for line in listing.strip().splitlines():
        found = re.fullmatch(r"(.+?), (?:(\d+)\.(\d+), )?(\d+|\[.*\]), (\d+(?:\.\d+)*)\S*", line.strip())
        if not found:
            return Seen(trouble=f"nvidia-smi reports no capability, memory or driver: {line.strip()[:120]!r}")
        name, major, minor, memory, driver = found.groups()
        gpus.append(Gpu(name, (int(major or 0), int(minor or 0)), int(memory) * 2**20 if memory.isdigit() else 0))
    return Seen(driver, tuple(gpus))


def visible(seen: Seen, wanted: str | None) -> Seen:
    """The GPUs of a list of numbers such as `1` or `0,2`, in nvidia-smi's order; a list of names keeps all."""
    if wanted is None or not re.fullmatch(r"\s*(\d+\s*(,\s*\d+\s*)*)?", wanted):
        return seen
    numbers = [int(part) for part in wanted.split(",") if part.strip()]
    return replace(seen, gpus=tuple(seen.gpus[number] for number in numbers if number < len(seen.gpus)))
