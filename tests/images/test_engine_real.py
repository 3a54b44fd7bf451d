"""Images in a real engine."""

from __future__ import annotations

import os
import time

import pytest

from images import engine, matrix
from images.errors import Stop

pytestmark = pytest.mark.docker


@pytest.fixture
def base(engine_there: None) -> str:
    """The base image, which the engine has."""
    name = os.environ.get("PINTUNE_BASE_IMAGE") or matrix.load().base.image
    engine.created(name)
    return name


def test_an_image_and_its_files(base: str) -> None:
    assert str(engine.image_id(base)).startswith("sha256:")
    assert engine.image_label(base, "no.such.label") is None
    assert b"bookworm" in engine.read_file(base, "/usr/lib/os-release")
    assert 0 <= engine.created(base) < time.time()  # a base built for the tests may have no date


def test_an_image_that_is_not_there(engine_there: None) -> None:
    name = "127.0.0.1:1/pintune/none:none"
    assert engine.image_id(name) is None
    assert engine.image_label(name, "label") is None
    assert engine.registry_digest(name) == ""
    with pytest.raises(Stop, match="check its name and docker login"):
        engine.pull(name)


def test_another_name_for_an_image(base: str) -> None:
    engine.name(base, "pintune/test-name:of-the-base")
    try:
        assert engine.image_id("pintune/test-name:of-the-base") == engine.image_id(base)
    finally:
        engine.client().images.remove("pintune/test-name:of-the-base", noprune=True)


def test_free_space_of_an_engine_on_this_machine(engine_there: None) -> None:
    free = engine.free_space()
    assert free is None or free > 0
