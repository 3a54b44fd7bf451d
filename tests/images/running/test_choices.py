"""Which runner is used."""

from __future__ import annotations

import pytest

from images.errors import Stop
from images.running import (
    choices,
)


@pytest.mark.parametrize(
    ("wanted", "environment", "answers", "chosen"),
    [
        ("auto", {"PINTUNE_IMAGE": "train"}, True, "here"),
        ("auto", {}, True, "docker"),
        ("auto", {}, False, "venv"),
        ("venv", {}, True, "venv"),
        ("here", {"PINTUNE_IMAGE": "train"}, False, "here"),
    ],
)
def test_auto_uses_the_first_runner_that_fits(
    wanted: str, environment: dict[str, str], answers: bool, chosen: str
) -> None:
    name, why = choices.choose_runner(wanted, environment, lambda: answers)
    assert name == chosen
    assert why


@pytest.mark.parametrize("wanted", ["here", "podman"])
def test_a_named_runner_is_used_or_refused(wanted: str) -> None:
    with pytest.raises(Stop):
        choices.choose_runner(wanted, {}, lambda: True)


def test_what_prepares_data_runs_here_outside_an_image_only_if_asked_to() -> None:
    assert choices.choose_runner("here", {}, lambda: True, prepares=True) == ("here", "asked for")
    assert choices.choose_runner("auto", {}, lambda: False, prepares=True)[0] == "venv"
