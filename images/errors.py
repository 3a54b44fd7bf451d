"""How the host side reports to a person. pipeline has its own errors: neither side imports the other."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import docker.errors
from invoke.exceptions import Exit


class Stop(Exception):
    """A verb cannot continue; printed as four short lines, without a traceback."""

    def __init__(self, wanted: str, found: str, where: str, todo: str) -> None:
        self.wanted, self.found, self.where, self.todo = wanted, found, where, todo
        super().__init__(f"wanted: {wanted}\n found: {found}\n where: {where}\n  next: {todo}")


class Killed(Stop):
    """A signal ended a step, which could not report why."""


class StepFailed(Exception):
    """A step ended with an exit status other than 0, having reported why."""

    def __init__(self, step: str, status: int) -> None:
        self.status = status
        super().__init__(f"{step} ended with status {status}")


def line(error: BaseException) -> str:
    """An exception as one line of at most 200 characters.

    The engine's explanation or the operating system's message where there is one, however deep, else type and message.
    """
    if explanation := getattr(error, "explanation", ""):
        return _first(str(explanation))
    at: BaseException | None = error if isinstance(error, (OSError, docker.errors.DockerException)) else None
    while at is not None:
        if isinstance(at, OSError) and at.strerror:
            return _first(at.strerror + (f": {at.filename}" if at.filename else ""))
        at = at.__cause__ or at.__context__
    return _first(f"{type(error).__name__}: {error}")


def _first(text: str) -> str:
    return (text.splitlines() or [""])[0][:200]


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """Report exceptions as a message and an exit status; with PINTUNE_DEBUG=1 they keep their traceback."""
    signal.signal(signal.SIGTERM, _interrupt)  # so that a step ends together with its verb
    try:
        yield
    except (Stop, StepFailed) as stop:
        if os.environ.get("PINTUNE_DEBUG") == "1":
            raise
        message = "" if isinstance(stop, StepFailed) else f"pintune stopped\n{stop}"
        raise Exit(message, code=getattr(stop, "status", 1)) from None
    except Exit:
        raise
    except KeyboardInterrupt:
        raise Exit("pintune interrupted; to resume a training: invoke train --resume", code=130) from None
    except Exception as error:
        if os.environ.get("PINTUNE_DEBUG") == "1":
            raise
        unexpected = Stop(
            "the verb to finish", line(error), "the host side", "set PINTUNE_DEBUG=1 for the traceback, and report it"
        )
        raise Exit(f"pintune stopped\n{unexpected}", code=1) from None


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
