"""Which flavor of the matrix runs on the GPUs of this machine: the CUDA flavor is decided here."""

from __future__ import annotations

from dataclasses import replace

from packaging.version import Version

from images.errors import Stop
from images.matrix import Flavor, Matrix
from images.running.gpu import Gpu, Seen


def misfit(flavor: Flavor, seen: Seen) -> str:
    """Why a flavor does not run on these GPUs; "" if it does."""
    if not flavor.cuda:
        return ""
    if not seen.gpus:
        return seen.trouble or "no NVIDIA GPU is seen"
    if Version(seen.driver) < Version(flavor.driver):
        return f"driver {seen.driver} is older than {flavor.driver}, which CUDA {flavor.cuda} needs"
    for gpu in seen.gpus:
        if gpu.capability == (0, 0):
            return f"{gpu.name}: the driver does not say its compute capability"
        if not _runs(flavor, gpu):
            architectures = ", ".join(f"sm_{joined(each)}" for each in flavor.cubins)
            return f"{gpu.name} (sm_{gpu.capability[0]}{gpu.capability[1]}) is not among {architectures}"
    return ""


def _runs(flavor: Flavor, gpu: Gpu) -> bool:
    """Machine code runs on its own major version from its minor version on; PTX on every later capability.

    CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility".
    """
    cubins, ptx = ([Version(each).release for each in listed] for listed in (flavor.cubins, flavor.ptx))
    return any(each[0] == gpu.capability[0] and each[1] <= gpu.capability[1] for each in cubins) or any(
        each <= gpu.capability for each in ptx
    )


def pick(known: Matrix, seen: Seen) -> tuple[str, str]:
    """The flavor that fits, the newest CUDA first, and the reason.

    Raises:
        Stop: no flavor runs on the GPUs, or the driver fails.
    """
    fitting = [flavor for flavor in known.flavors.values() if flavor.cuda and not misfit(flavor, seen)]
    if fitting:
        best = max(fitting, key=lambda flavor: Version(flavor.cuda))
        return best.name, f"{seen.gpus[0].name}, driver {seen.driver}"
    plain = next(flavor.name for flavor in known.flavors.values() if not flavor.cuda)
    if not seen.gpus and not seen.trouble:
        return plain, "no NVIDIA GPU is seen"
    if seen.trouble:
        raise Stop("a GPU that answers, or none", seen.trouble, "nvidia-smi", f"repair the driver, or --flavor {plain}")
    reasons = "; ".join(f"{flavor.name}: {misfit(flavor, seen)}" for flavor in known.flavors.values() if flavor.cuda)
    raise Stop(
        "a GPU and driver that a flavor runs on", reasons, "nvidia-smi", f"{_remedy(known, seen)}--flavor {plain}"
    )


def _remedy(known: Matrix, seen: Seen) -> str:
    """What makes the GPUs usable, if anything does."""
    newer = replace(seen, driver="99999")
    fitting = [flavor.driver for flavor in known.flavors.values() if flavor.cuda and not misfit(flavor, newer)]
    unknown = any(gpu.capability == (0, 0) for gpu in seen.gpus)
    if fitting or unknown:
        oldest = min(fitting or [flavor.driver for flavor in known.flavors.values() if flavor.cuda], key=Version)
        return f"update the driver to {oldest} or newer, or "
    return "leave out the GPUs that do not fit, by CUDA_VISIBLE_DEVICES, or " if len(seen.gpus) > 1 else ""


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


def joined(capability: str) -> str:
    """A compute capability as in the names of architectures: 8.6 is the 86 of sm_86."""
    return capability.replace(".", "")
