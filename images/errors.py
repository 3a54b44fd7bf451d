"""The host side's one exception for a person. pipeline has its own: neither side imports the other."""

from __future__ import annotations


class Stop(Exception):
    """A verb cannot go on; printed as four short lines, without a traceback."""

    def __init__(self, wanted: str, found: str, where: str, todo: str) -> None:
        self.wanted, self.found, self.where, self.todo = wanted, found, where, todo
        super().__init__(f"wanted: {wanted}\n found: {found}\n where: {where}\n  next: {todo}")


class StepFailed(Exception):
    """A step in the container or environment ended with a status other than 0; it has said why itself."""

    def __init__(self, step: str, status: int) -> None:
        self.status = status
        super().__init__(f"{step} ended with status {status}")
