"""A program that listens, described as a value, and the service that runs it: a container, or a process of an image's
locked environment.

    TENSORBOARD = Program("tensorboard", "dev", ("python", "-m", "tensorboard.main", "--port={port}"), 6006, "/")
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from images import matrix
from images.building import build
from images.errors import Stop
from images.running import environment, user_files
from images.running.choices import Choices
from images.running.container import Mount
from images.running.step_call import StepCall
from images.running.steps import Step
from images.services.service import Service

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Program:
    """A program that listens."""

    name: str  # of its service, as in `invoke down --name NAME`
    image: str  # of images/matrix.toml; a process runs in the environment of that image's lock
    command: tuple[str, ...]  # the first word is a program of the environment; {host} and {port} are replaced in others
    port: int  # in a container; on this machine the one that is tried first
    health: str  # path that answers with status 200 once it is ready
    patience: int = 120  # seconds until then, at most
    path: str = "/"  # of its link
    token: str = ""  # variable that it takes a token from; "" if it has none, and so stays on loopback
    always_token: bool = False  # on loopback too, and as ?token= in its link
    writes: tuple[str, ...] = ()  # which of data/, models/ and runs/ it may write to
    mounts: tuple[Mount, ...] = ()  # more than these three folders
    environment: Mapping[str, str] = field(default_factory=dict)
    gpu: bool = False  # computes on the GPU of a CUDA flavor


@dataclass(frozen=True)
class Token:
    """What requests to a program must have."""

    value: str = field(repr=False)  # "" for nothing
    is_new: bool  # made for this start, and so to be shown


def token(variable: str, host: str, always: bool = False) -> Token:
    """The token that a variable of this process sets; else a new one for an address that other machines reach, or with
    `always` for any; else none."""
    if given := os.environ.get(variable, ""):
        return Token(given, False)
    needed = always or host not in LOOPBACK
    return Token(f"pintune-{secrets.token_urlsafe(24)}" if needed else "", needed)


def need_loopback(program: Program, host: str) -> None:
    """Raise Stop if a program that takes no token would be reached by other machines."""
    if not program.token and host not in LOOPBACK:
        todo = f"leave out --host; from another machine: ssh -L {program.port}:127.0.0.1:{program.port} HOST"
        raise Stop(f"{program.name} on loopback: it asks nobody for a token", f"the address {host}", "--host", todo)


def service(
    choices: Choices, runner: str, program: Program, host: str, port: int, asked: Token, scratch: Path, of: str = ""
) -> Service:
    """The service that runs a program.

    Args:
        runner: docker, venv, or here in its own image.
        port: a free one of the address `host`.
        asked: the token that requests need.
        of: what it is of beside flavor, address and the image's contents: another value is another service.

    Raises:
        Stop: as `need_loopback` and `environment.for_container`.
    """
    need_loopback(program, host)
    call = StepCall(Step(program.name, program.writes, gpu=program.gpu))
    own = {**program.environment, **({program.token: asked.value} if asked.value else {})}
    shown = ", ".join(filter(None, (of, choices.flavor, host, f"settings {_settings(choices, program, asked)}")))
    made = Service(program.name, shown, host, port, program.path, program.health, program.patience)
    made = dataclasses.replace(made, link_token=program.token if asked.value and program.always_token else "")
    if runner != "docker":
        (python, *_), variables = environment.for_process(choices, runner, call, program.image)
        return dataclasses.replace(
            made, command=_command(program, host, port, python), environment={**variables, **own}
        )
    container = environment.for_container(choices, call, scratch, capture=True, image_name=program.image)
    container = dataclasses.replace(
        container,
        command=_command(program, "0.0.0.0", program.port),
        mounts=(*container.mounts, *program.mounts),
        environment={**container.environment, **own},
        publish=("127.0.0.1" if host == "localhost" else host, port, program.port),
    )
    return dataclasses.replace(made, container=container)


def inside(name: str, writable: bool = False) -> Mount:
    """The mount of a folder of the checkout, at its place in the working directory of a container."""
    return Mount((matrix.ROOT / name).resolve(), str(user_files.WORKDIR / name), writable)


def _command(program: Program, host: str, port: int, python: str = "") -> tuple[str, ...]:
    """The words of a program; `python` is the interpreter of its environment, "" in a container."""
    first, *words = program.command
    words = [word.replace("{host}", host).replace("{port}", str(port)) for word in words]
    return (str(Path(python).with_name(first)) if python and first != "python" else python or first, *words)


def _settings(choices: Choices, program: Program, asked: Token) -> str:
    """A short hash of what a running service does not take up: another image, command, or token that is set."""
    source = build.source_hash(program.image, choices.flavor)
    parts = (source, program.command, sorted(program.environment.items()), "" if asked.is_new else asked.value)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]
