"""Messages for what a recipe cannot have."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from pipeline import recipe_errors


@pytest.mark.parametrize(
    ("hint", "kind", "wanted"),
    [
        (Annotated[int, Field(ge=1)], "greater_than_equal", "lora.r: at least 1"),
        (Annotated[float, Field(ge=0, lt=1)], "less_than", "lora.r: at least 0 and below 1"),
        (int, "int_type", "lora.r as a whole number"),
        (dict[str, str], "dict_type", "lora.r as a table of names"),
        (Literal["a", "b"], "literal_error", "lora.r: one of a, b"),
        (tuple[str, ...], "too_short", "lora.r as a list of strings"),
    ],
)
def test_the_bounds_of_a_value_are_named(hint: object, kind: str, wanted: str) -> None:
    assert recipe_errors.refused("lora.r", hint, 0, "r.toml", kind).wanted.startswith(wanted)


def test_a_near_name_is_proposed() -> None:
    known = ["lora.r", "lora.alpha", "data.source"]
    assert recipe_errors.unknown("key", "lora.alfa", "lora.alfa", known, "r.toml").todo == "did you mean lora.alpha?"
    assert recipe_errors.unknown("key", "x.y", "x.y", known, "r.toml").todo == "remove x.y"
