"""Flags that hold for the verbs after theirs, and variables that set them."""

from __future__ import annotations

import pytest

from tests.marks import Invoke


@pytest.mark.parametrize(
    "words", [("build", "--runner", "venv", "train", "export"), ("train", "--runner", "venv", "export")]
)
def test_a_flag_of_one_verb_holds_for_those_after_it(call: Invoke, words: tuple[str, ...]) -> None:
    done = call("--dry", *words)
    assert "docker" not in done.stdout.replace("--runner", "")
    assert done.stdout.count(" -m pipeline ") == 4


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (("train", "export", "--set", "lora.r=8"), "train"),
        (("build", "data", "train", "--runner", "venv"), "build"),
        (("build", "train", "export", "--recipe", "mistral-7b-instruct"), "train"),
    ],
)
def test_a_flag_after_a_verb_that_takes_it_stops_the_call(call: Invoke, words: tuple[str, ...], first: str) -> None:
    done = call("--dry", *words)
    assert done.returncode == 1
    assert f"{first} would run without it" in done.stderr
    assert not done.stdout


def test_later_flags_may_add_to_earlier_ones(call: Invoke) -> None:
    words = ("build", "train", "--set", "lora.r=8", "export", "--set", "export.dtype=float32")
    done = call("--dry", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("--set lora.r=8 --set export.dtype=float32")


def test_the_environment_sets_recipe_flavor_and_runner(call: Invoke) -> None:
    done = call("--dry", "export", PINTUNE_RUNNER="venv", PINTUNE_RECIPE="mistral")
    assert "runner venv (asked for), flavor cpu" in done.stdout
    assert "--recipe mistral" in done.stdout
