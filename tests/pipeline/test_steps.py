"""steps.toml: what each step may touch, and the exit statuses."""

from __future__ import annotations

import dataclasses

from pipeline.errors import Paused, Stop
from pipeline.steps import EXIT_STATUS, STEPS, Step


def test_only_what_fetches_and_pushes_has_a_network() -> None:
    assert [name for name, step in STEPS.items() if step.network] == ["fetch", "fetch_gguf", "push_hub"]


def test_steps_write_to_known_folders_only() -> None:
    assert {folder for step in STEPS.values() for folder in step.writes} == {"data", "models", "runs"}
    assert STEPS["train"].writes == STEPS["evaluate"].writes == STEPS["export"].writes == ("runs",)
    assert STEPS["ask"].writes == STEPS["score"].writes == ()


def test_every_field_of_a_step_is_used_and_has_its_type() -> None:
    for field in dataclasses.fields(Step):
        values = [getattr(step, field.name) for step in STEPS.values()]
        assert len(set(values)) > 1, field.name
        types = {"writes": {tuple}, "verb": {str, type(None)}}.get(field.name, {bool})
        assert {type(value) for value in values} == types, field.name


def test_exit_statuses_are_distinct_and_are_those_of_the_exceptions() -> None:
    assert len(set(EXIT_STATUS.values())) == len(EXIT_STATUS)
    assert (Stop.status, Paused.status) == (EXIT_STATUS["stopped"], EXIT_STATUS["paused"]) == (1, 75)
    assert (EXIT_STATUS["done"], EXIT_STATUS["usage"]) == (0, 2)
