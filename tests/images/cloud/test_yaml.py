"""The YAML that is written is read as the same values, by YAML 1.1's rules too."""

from __future__ import annotations

from typing import Any

import pytest
import yaml as reader
from hypothesis import given, settings
from hypothesis import strategies as st

from images.cloud import yaml

SCALARS = st.one_of(st.text(), st.integers(-(2**40), 2**40), st.booleans(), st.none())
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@given(st.dictionaries(st.text(min_size=1), VALUES, min_size=1))
@settings(max_examples=300, deadline=None)
def test_what_is_written_is_read_again(value: dict[str, Any]) -> None:
    assert reader.safe_load(yaml.dump(value)) == value


@pytest.mark.parametrize("text", ["no", "On", "y", "null", "1e3", "0x10", "2026-01-01", "12:30", "~", "", "a: b", "#x"])
def test_a_string_that_looks_like_something_else_stays_one(text: str) -> None:
    assert reader.safe_load(yaml.dump({"key": text, "list": [text]})) == {"key": text, "list": [text]}


def test_a_script_is_a_block_that_a_person_can_read() -> None:
    script = "#!/bin/bash\n\nif true; then\n    echo 'a: \"b\"'\nfi\n"
    made = yaml.dump({"run": script, "list": [{"run": script}], "last": 1})
    assert "  if true; then\n" in made
    assert reader.safe_load(made) == {"run": script, "list": [{"run": script}], "last": 1}


def test_documents_are_apart() -> None:
    assert list(reader.safe_load_all(yaml.documents([{"a": 1}, {"b": [2]}]))) == [{"a": 1}, {"b": [2]}]
