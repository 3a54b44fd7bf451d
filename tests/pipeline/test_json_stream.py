"""JSON lists read as streams: the elements equal those of json.loads, and a malformed file ends in one message."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import json_stream
from pipeline.errors import Stop
from pipeline.tatqa import schema

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(VALUES, max_size=6),
    indent=st.sampled_from([None, 0, 3]),
    ascii_=st.booleans(),
    mark=st.booleans(),
    chunk=st.integers(1, 9),
)
def test_elements_equal_json_loads_for_any_chunk_size(
    values: list[Any], indent: int | None, ascii_: bool, mark: bool, chunk: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        file = Path(folder) / "raw.json"
        file.write_text(
            ("\ufeff" if mark else "") + json.dumps(values, indent=indent, ensure_ascii=ascii_), encoding="utf-8"
        )
        patch.setattr(json_stream, "_CHUNK", chunk)
        assert list(json_stream.elements(file)) == values


MALFORMED = {
    "empty": b"",
    "blank": b" \n ",
    "an object": b"{}",
    "null": b"null",
    "cut off": b'[{"table": ',
    "cut off after an element": b"[1, 2",
    "a comma too many": b"[1,]",
    "no comma": b"[1 2]",
    "more after the end": b"[1] 2",
    "no UTF-8": b'["\xff"]',
    "UTF-16": "[1]".encode("utf-16"),
    "UTF-8 cut off": '["é"]'.encode()[:3],
    "NaN": b"[NaN]",
    "Infinity": b'[{"a": -Infinity}]',
    "deep": b"[" * 100_000,
    "deep objects": b'[{"a":' * 50_000,
    "a digit too many to hold": b"[" + b"9" * 5000 + b"]",
    "control character": b'["\x01"]',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_ends_in_one_short_message(tmp_path: Path, body: bytes) -> None:
    file = tmp_path / "raw.json"
    file.write_bytes(body)
    with pytest.raises(Stop) as stopped:
        list(json_stream.elements(file))
    assert str(file) in stopped.value.where
    assert len(stopped.value.found) < 300


def test_an_endless_element_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "LARGEST", 1 << 18)
    file = tmp_path / "raw.json"
    file.write_text('["' + "x" * (1 << 20))
    with pytest.raises(Stop, match="no end of an element within"):
        list(json_stream.elements(file))


def test_memory_does_not_grow_with_the_file(tmp_path: Path, raw_context: dict[str, Any]) -> None:
    import tracemalloc

    file = tmp_path / "raw.json"
    file.write_text(json.dumps([raw_context] * 5000))
    tracemalloc.start()
    assert sum(1 for _ in schema.read(file)) == 5000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert file.stat().st_size > 10_000_000
    assert peak < 1_000_000


def _random_value(draw: random.Random) -> Any:
    return draw.choice(
        [
            None,
            True,
            0,
            -1,
            10**400,
            1e308,
            "",
            "x",
            "\ud800",
            "\x00",
            [],
            {},
            [[]],
            [None],
            {"a": {}},
            "9" * 10_000,
            [["a"], ["b", "c"]],
        ]
    )


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [at, *(place for key, child in children for place in _places(child, (*at, key)))] if at or children else [at]


def _change(contexts: Any, draw: random.Random) -> None:
    """Remove, replace or add one value at a random place."""
    places = [place for place in _places(contexts) if place]
    if not places:
        return
    place = draw.choice(places)
    holder = contexts
    for key in place[:-1]:
        holder = holder[key]
    action = draw.randrange(3)
    if action == 0:
        del holder[place[-1]]
    elif action == 1 or isinstance(holder, list):
        holder[place[-1]] = _random_value(draw)
    else:
        holder[draw.choice(["extra", "answer", "facts", "mappings", "uid"])] = _random_value(draw)


def test_a_mutated_file_loads_or_is_refused_with_its_place(tmp_path: Path, raw_context: dict[str, Any]) -> None:
    draw = random.Random(4)
    whole = json.dumps([raw_context])
    refused = 0
    for number in range(1500):
        contexts = json.loads(whole)
        for _ in range(draw.randrange(1, 3)):
            _change(contexts, draw)
        file = tmp_path / f"{number % 2}.json"
        file.write_text(json.dumps(contexts), encoding="utf-8")
        refused += _refused(lambda file=file: schema.load(file), str(file))  # type: ignore[misc]
    assert 300 < refused < 1500


def _refused(load: Callable[[], object], where: str) -> bool:
    try:
        load()
    except Stop as stop:
        assert where in stop.where
        assert all((stop.wanted, stop.found, stop.todo))
        assert len(str(stop)) < 1500
        return True
    return False
