"""The manifest: what made a run, the hashes of its outputs, and comparisons between manifests."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from pipeline.errors import Stop
from pipeline.recipe import as_values, load, resolve
from pipeline.runs import manifest


def _run(folder: Path) -> Path:
    run = folder / "20260101-000000-abcdef"
    (run / "adapter").mkdir(parents=True)
    (run / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (run / "metrics.jsonl").write_text("{}\n")
    (run / "unfinished.json").write_text("{}")
    return run


def test_outputs_are_hashed_by_their_path_in_the_run(tmp_path: Path) -> None:
    assert manifest.outputs(_run(tmp_path)) == {
        "adapter/adapter_model.safetensors": hashlib.sha256(b"weights").hexdigest(),
        "metrics.jsonl": hashlib.sha256(b"{}\n").hexdigest(),
    }


def test_a_manifest_is_json_from_which_the_recipe_is_resolved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("IMAGE_DIGEST", "sha256:1"), ("LOCK", "aaaa"), ("DIRTY", "1")):
        monkeypatch.setenv(f"PINTUNE_{name}", value)
    monkeypatch.setenv("PINTUNE_REVISION", "")
    recipe = load("quickstart", ["lora.targets=['q_proj', 'v_proj']"])
    record = json.loads(json.dumps(manifest.of_training(recipe, _run(tmp_path), {}, {"steps": 3})))
    assert resolve("quickstart", record["recipe"]) == recipe
    assert record["seeds"] == {"all": recipe.training.seed}
    found = record["environment"]
    keys = ("image_digest", "lock_sha256", "dirty", "revision")
    assert [found[key] for key in keys] == ["sha256:1", "aaaa", True, None]
    assert found["packages"]["torch"] and found["processor"] and found["threads"] <= (os.cpu_count() or 1)


def test_a_later_step_adds_its_section_and_hashes_its_outputs(tmp_path: Path) -> None:
    run = _run(tmp_path)
    recorded = {"recipe": as_values(load("quickstart")), "outputs": manifest.outputs(run)}
    (run / "evaluation.json").write_text("{}")
    manifest.add(run, recorded, "evaluation", {"em": 0.5})
    written = json.loads((run / "manifest.json").read_text())
    assert written["evaluation"]["em"] == 0.5 and written["evaluation"]["at"]
    assert written["outputs"].keys() - recorded["outputs"].keys() == {"evaluation.json"}


def test_differences_are_named_by_their_keys(tmp_path: Path) -> None:
    then = {"model": {"files": {"config.json": "1", "tokenizer.json": "2"}}, "data": {"source": "sample"}}
    now = {"model": {"files": {"config.json": "1", "tokenizer.json": "3", "more.json": "4"}}, "data": {}}
    names = ["data.source", "model.files.more.json", "model.files.tokenizer.json"]
    assert manifest.differing(then, now) == names
    with pytest.raises(Stop, match=", ".join(names)):
        manifest.need_same(then, now, tmp_path)
    manifest.need_same(then, dict(then), tmp_path)
