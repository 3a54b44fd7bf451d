"""The NVIDIA driver and GPUs that this machine has, and which flavor of the matrix fits them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from images.errors import Stop
from images.matrix import Flavor, Matrix

# What `nvidia-smi` reads from NVML; it comes with the driver, wherever that is.
QUERY = ("nvidia-smi", "--query-gpu=name,compute_cap,memory.total,driver_version", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Gpu:
    """One GPU."""

    name: str
    capability: tuple[int, int]  # compute capability, major and minor
    memory: int  # bytes


@dataclass(frozen=True)
class Seen:
    """The driver and its GPUs; no driver and no GPU where there is none, with the reason in `trouble` where one would expect some."""

    driver: str = ""
    gpus: tuple[Gpu, ...] = ()
    trouble: str = ""


def look() -> Seen:
    """What `nvidia-smi` says here."""
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        return Seen()
    except (OSError, subprocess.TimeoutExpired) as error:
        return Seen(trouble=f"nvidia-smi does not answer: {error}")
    if done.returncode:
        return Seen(trouble=f"nvidia-smi: {(done.stdout.strip() or done.stderr.strip()).splitlines()[0][:200]}")
    return parse(done.stdout)


def parse(listing: str) -> Seen:
    """What the lines of QUERY say, one a GPU: `Tesla T4, 7.5, 15360, 535.183.01`, memory in MiB."""
    gpus, driver = [], ""
    for line in listing.strip().splitlines():
        try:
            name, capability, memory, driver = (part.strip() for part in line.rsplit(",", 3))
            major, minor = capability.split(".")
            gpus.append(Gpu(name, (int(major), int(minor)), int(memory) * 2**20))
        except ValueError:
            return Seen(trouble=f"a line of nvidia-smi that says no capability or memory: {line[:120]!r}")
    return Seen(driver, tuple(gpus))


def misfit(flavor: Flavor, seen: Seen) -> str:
    """Why a flavor does not run on what was seen; "" where it does."""
    if not flavor.cuda:
        return ""
    if not seen.gpus:
        return seen.trouble or "no NVIDIA GPU is seen"
    if _version(seen.driver) < _version(flavor.driver):
        return f"driver {seen.driver} is older than {flavor.driver}, which CUDA {flavor.cuda} needs"
    for gpu in seen.gpus:
        if not _runs(flavor, gpu):
            return f"{gpu.name} (sm_{gpu.capability[0]}{gpu.capability[1]}) is not among sm_{', sm_'.join(joined(each) for each in flavor.cubins)}"
    return ""


def _runs(flavor: Flavor, gpu: Gpu) -> bool:
    """Machine code runs on its own major version from its minor version on; PTX on every later capability.

    CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility".
    """
    cubins, ptx = ([_version(each) for each in listed] for listed in (flavor.cubins, flavor.ptx))
    return any(each[0] == gpu.capability[0] and each[1] <= gpu.capability[1] for each in cubins) or any(each <= gpu.capability for each in ptx)


def pick(known: Matrix, seen: Seen) -> tuple[str, str]:
    """The flavor that fits, the newest CUDA first, and why in a few words.

    Raises:
        Stop: there is a GPU, and no flavor runs on it.
    """
    fitting = [flavor for flavor in known.flavors.values() if flavor.cuda and not misfit(flavor, seen)]
    if fitting:
        best = max(fitting, key=lambda flavor: _version(flavor.cuda))
        return best.name, f"{seen.gpus[0].name}, driver {seen.driver}"
    plain = next(flavor.name for flavor in known.flavors.values() if not flavor.cuda)
    if not seen.gpus:
        return plain, seen.trouble or "no NVIDIA GPU is seen"
    reasons = "; ".join(f"{flavor.name}: {misfit(flavor, seen)}" for flavor in known.flavors.values() if flavor.cuda)
    oldest = min((flavor.driver for flavor in known.flavors.values() if flavor.cuda), key=_version)
    raise Stop("a GPU and driver that a flavor runs on", reasons, "nvidia-smi", f"update the driver to {oldest} or newer, or --flavor {plain}")


def need(known: Matrix, flavor: Flavor, seen: Seen) -> None:
    """Raise Stop unless a flavor runs here; the message names one that does."""
    why = misfit(flavor, seen)
    if not why:
        return
    try:
        other = pick(known, seen)[0]
    except Stop as stop:
        raise Stop(f"a GPU for the flavor {flavor.name}", why, "nvidia-smi", stop.todo) from None
    raise Stop(f"a GPU for the flavor {flavor.name}", why, "nvidia-smi", f"--flavor {other}")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def joined(capability: str) -> str:
    """A compute capability as architectures are named after it: 8.6 is the 86 of sm_86."""
    return capability.replace(".", "")
