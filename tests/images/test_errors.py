"""Exceptions as a person sees them: one message, an exit status, and no traceback."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import docker.errors
import pytest
from invoke.exceptions import Exit

from images import errors
from images.errors import Killed, StepFailed, Stop


@pytest.fixture(autouse=True)
def own_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore the handler of SIGTERM."""
    monkeypatch.delenv("PINTUNE_DEBUG", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


STOP = Stop("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (STOP, 1, "pintune stopped\nwanted: a\n found: b\n where: c\n  next: d"),
        (Killed("a", "b", "c", "d"), 1, "pintune stopped\nwanted: a\n found: b\n where: c\n  next: d"),
        (StepFailed("train", 75), 75, ""),  # the step has reported why
        (KeyboardInterrupt(), 130, "pintune interrupted; to resume a training: invoke train --resume"),
        (Exit("as it is", code=7), 7, "as it is"),
    ],
)
def test_message_and_status(error: BaseException, status: int, message: str) -> None:
    with pytest.raises(Exit) as ended, errors.reported():
        raise error
    assert (ended.value.code, ended.value.message) == (status, message)


def test_an_unexpected_error_says_how_to_report_it() -> None:
    with pytest.raises(Exit) as ended, errors.reported():
        raise RuntimeError("first line\nsecond line")
    assert ended.value.code == 1
    assert "found: RuntimeError: first line\n" in str(ended.value.message)
    assert "PINTUNE_DEBUG=1" in str(ended.value.message)


@pytest.mark.parametrize("error", [STOP, StepFailed("train", 1), RuntimeError("x")])
def test_the_traceback_is_kept_for_debugging(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setenv("PINTUNE_DEBUG", "1")
    with pytest.raises(type(error)), errors.reported():
        raise error


def test_sigterm_ends_a_verb_as_an_interrupt_does() -> None:
    with pytest.raises(Exit) as ended, errors.reported():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert ended.value.code == 130


def _raised(outer: Exception, inner: Exception) -> Exception:
    try:
        try:
            raise inner
        except Exception:
            raise outer  # noqa: B904 - as libraries do
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (docker.errors.APIError("500", explanation="no such network"), "no such network"),
        (FileNotFoundError(2, "No such file or directory", "a.txt"), "No such file or directory: a.txt"),
        (
            _raised(docker.errors.DockerException("Error while fetching"), ConnectionRefusedError(111, "refused")),
            "refused",
        ),
        (KeyError("key"), "KeyError: 'key'"),
        (_raised(ValueError("own"), FileNotFoundError(2, "unrelated")), "ValueError: own"),
        (ValueError("x" * 300), "ValueError: " + "x" * 188),
        (RuntimeError(), "RuntimeError: "),
    ],
)
def test_an_exception_as_one_line(error: Exception, line: str) -> None:
    assert errors.line(error) == line
