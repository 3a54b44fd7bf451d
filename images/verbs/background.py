"""What all verbs share that start something which listens: a free port, and one that runs already is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from images import pip_config
from images.running.choices import Choices
from images.services import start as services
from images.services.service import Running, Service


@dataclass(frozen=True)
class Begun:
    """A service that is ready."""

    running: Running
    seconds: float  # until it was; 0 if it ran already
    taken: int  # the port that was wanted and is another's; 0 if it was free

    @property
    def how(self) -> str:
        """In words."""
        return f"ready after {self.seconds:.1f} s" if self.seconds else "it runs already"

    def say_port(self) -> None:
        """Say if it has another port than the one that was wanted."""
        if self.taken:
            print(f"{self.running.name}  port {self.taken} was taken")


def begin(choices: Choices, name: str, host: str, port: int, make: Callable[[int, Path], Service]) -> Begun | None:
    """Start a service, or find it; a dry call prints its commands and returns None.

    Args:
        port: the one that is wanted.
        make: the service, from a free port and a folder for pip's settings.

    Raises:
        Stop: as `make`, `start.free_port` and `start.start`.
    """
    with pip_config.secrets(choices.dry) as scratch:
        runs = bool(services.found(name)) if not choices.dry else False
        at = port if choices.dry or runs else services.free_port(host, port)
        service = make(at, scratch)
        if choices.dry:
            print("\n".join(services.shown(service)))
            return None
        running, seconds = services.start(service)
    return Begun(running, seconds, port if seconds and at != port else 0)
