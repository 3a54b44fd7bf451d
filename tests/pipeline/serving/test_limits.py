"""The limits of the server: from variables, and as a model and its memory allow them."""

from __future__ import annotations

import pytest

from pipeline.errors import Stop
from pipeline.models import load
from pipeline.serving import limits
from pipeline.serving.limits import Limits
from tests.models import random_model


def test_variables_set_them() -> None:
    assert limits.of({}) == Limits()
    assert limits.of({"PINTUNE_SERVE_SLOTS": "2", "PINTUNE_SERVE_BODY": " 99 "}) == Limits(slots=2, body=99)
    for wrong in ("0", "-1", "many", "1.5"):
        with pytest.raises(Stop, match="PINTUNE_SERVE_QUEUE"):
            limits.of({"PINTUNE_SERVE_QUEUE": wrong})


def test_memory_bounds_the_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("llama")  # 2 layers, 2 heads of 8, float64: 512 bytes a token
    monkeypatch.setattr(load, "memory", lambda: 2 * 512 * 1000 * 3 + 1)
    assert limits.fitting(Limits(context=1000), model) == Limits(context=1000, slots=3)
    monkeypatch.setattr(load, "memory", lambda: 512 * 1000)
    with pytest.raises(Stop, match="for a context of 1000 tokens"):
        limits.fitting(Limits(context=1000), model)


def test_a_context_ends_where_positions_would_be_rotated_in_another_way() -> None:
    assert limits.fitting(Limits(), random_model("llama")).context == 4096
    assert limits.fitting(Limits(), random_model("phi3, longrope")).context == 64
