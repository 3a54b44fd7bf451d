"""What the host side says to a person when a verb cannot go on. pipeline has its own: neither side imports the other."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

from invoke.exceptions import Exit


class Stop(Exception):
    """A verb cannot go on; printed as four short lines, without a traceback."""

    def __init__(self, wanted: str, found: str, where: str, todo: str) -> None:
        self.wanted, self.found, self.where, self.todo = wanted, found, where, todo
        super().__init__(f"wanted: {wanted}\n found: {found}\n where: {where}\n  next: {todo}")


class Killed(Stop):
    """A step was ended by a signal, and could not say why itself."""


class StepFailed(Exception):
    """A step in the container or environment ended with a status other than 0; it has said why itself."""

    def __init__(self, step: str, status: int) -> None:
        self.status = status
        super().__init__(f"{step} ended with status {status}")


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """No traceback reaches a person, unless PINTUNE_DEBUG=1."""
    signal.signal(signal.SIGTERM, _interrupt)  # so that a step ends with the verb that started it
    try:
        yield
    except (Stop, StepFailed) as stop:
        if os.environ.get("PINTUNE_DEBUG") == "1":
            raise
        raise Exit(
            "" if isinstance(stop, StepFailed) else f"pintune stopped\n{stop}", code=getattr(stop, "status", 1)
        ) from None
    except Exit:
        raise
    except KeyboardInterrupt:
        raise Exit("pintune interrupted; a training goes on with: invoke train --resume", code=130) from None
    except Exception as error:
        if os.environ.get("PINTUNE_DEBUG") == "1":
            raise
        shown = f"{type(error).__name__}: {error}".splitlines()[0]
        unforeseen = Stop(
            "the verb to end well", shown, "on the host's side", "set PINTUNE_DEBUG=1 to see where, and report it"
        )
        raise Exit(f"pintune stopped\n{unforeseen}", code=1) from None


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
