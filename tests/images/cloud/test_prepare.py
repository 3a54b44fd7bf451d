"""The VM pulls the release of its own source by digest, and builds otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images.building import build, registry
from images.cloud import prepare
from tests.marks import RELEASE


@pytest.mark.parametrize(
    ("source", "verb"), [("", "build"), ("d" * 64, "build"), ("own", "pull")], ids=["none", "another source", "own"]
)
def test_the_verb_that_brings_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, verb: str
) -> None:
    record = tmp_path / "released.json"
    monkeypatch.setattr(registry, "RECORD", record)
    monkeypatch.setattr("images.git.version", lambda: "0.1.0")
    if source:
        source = build.source_hash("train", "cpu") if source == "own" else source
        record.write_text(json.dumps({"train:cpu-0.1.0": {**RELEASE, "source": source}}), encoding="utf-8")
    assert prepare.verb("train", "cpu") == verb
