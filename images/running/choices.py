"""What the verbs of one call share: recipe, flavor, runner and overrides; and what `auto` means for two of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from images import engine, matrix
from images.errors import Stop
from images.running import flavor as flavors
from images.running import gpu

RUNNERS = ("auto", "here", "docker", "venv")


@dataclass(frozen=True)
class Choices:
    """What the verbs of one call share."""

    recipe: str
    flavor: str
    runner: str
    overrides: tuple[str, ...] = ()  # SECTION.KEY=VALUE
    dry: bool = False  # print commands, run nothing
    image: str = "train"  # that steps run in, or dev, which has its packages and more


def choose_runner(
    wanted: str,
    environment: Mapping[str, str] = os.environ,
    answers: Callable[[], bool] = engine.answers,
    dry: bool = False,
    prepares: bool = False,
) -> tuple[str, str]:
    """The runner and the reason for it. A named runner is used or refused; `auto` uses the first that fits.

    Args:
        prepares: for what only prepares data, which any Python with its packages does the same, `here` is wherever the
            call is.

    Raises:
        Stop: an unknown runner, `here` outside an image, or `docker` without an engine.
    """
    if wanted not in RUNNERS:
        raise Stop(f"a runner: {', '.join(RUNNERS)}", repr(wanted), "--runner or PINTUNE_RUNNER", "--runner auto")
    inside = environment.get("PINTUNE_IMAGE", "")
    if wanted == "here" and not inside and not prepares:
        raise Stop(
            "to be inside a Pintune image (PINTUNE_IMAGE is set there)",
            "PINTUNE_IMAGE is not set",
            "--runner here",
            "--runner auto",
        )
    if wanted == "docker" and not dry:  # printing a command needs no engine
        engine.client()
    if wanted != "auto":
        return wanted, "asked for"
    if inside:
        return "here", f"inside the image {inside}"
    if answers():
        return "docker", "a Docker engine answers"
    return "venv", "no Docker engine answers"


def with_engine(choices: Choices) -> Choices:
    """The same choices with the runner docker, for work that only an engine can do.

    Raises:
        Stop: another runner was asked for.
    """
    if choices.runner not in ("auto", "docker"):
        raise Stop(
            "the runner docker: only an engine builds images",
            f"runner {choices.runner}",
            "--runner or PINTUNE_RUNNER",
            "--runner docker",
        )
    return replace(choices, runner="docker")


def choose_flavor(wanted: str, known: matrix.Matrix | None = None) -> tuple[str, str]:
    """The flavor and the reason for it; `auto` picks the one that fits this machine's GPUs.

    Raises:
        Stop: an unknown flavor, or GPUs that no flavor fits.
    """
    known = known or matrix.load()
    if wanted == "auto":
        return flavors.pick(known, gpu.look())
    known.flavor(wanted)
    return wanted, "asked for"
