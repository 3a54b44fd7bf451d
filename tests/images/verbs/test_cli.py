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


def test_the_environment_sets_recipe_flavor_and_runner(call: Invoke) -> None:
    done = call("--dry", "export", PINTUNE_RUNNER="venv", PINTUNE_RECIPE="mistral")
    assert "runner venv (asked for), flavor cpu" in done.stdout
    assert "--recipe mistral" in done.stdout
