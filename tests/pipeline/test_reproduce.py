"""`reproduce`: the same inputs give the same outputs; a difference is listed with the changed environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.reproduce import changes
from tests.steps import latest, manifest, overrides, step

SMALL = overrides("data.train_contexts=2", "data.evaluation_contexts=1")


def _run() -> Path:
    assert (
        step("train", *SMALL)
        == step("evaluate", "--set", "evaluation.max_new_tokens=3")
        == step("export", "--set", "export.dtype=float32")
        == 0
    )
    return latest()


def _reproduce(run: Path) -> int:
    os.rename(run, run.with_name("20260101-000000-first"))
    Path("runs/tiny/latest").unlink()
    Path("runs/tiny/latest").symlink_to("20260101-000000-first")
    return step("reproduce", "--run", "tiny/20260101-000000-first")


def test_a_reproduction_has_the_same_hashes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run()
    (place / "tiny.toml").write_text("[model]\nsource = 'other'\n")  # the recipe comes from the manifest
    assert _reproduce(run) == 0
    out = capsys.readouterr().out
    for name in (
        "adapter/adapter_model.safetensors",
        "merged/model.safetensors",
        "predictions.json",
        "metrics.jsonl",
        "evaluation.json",
    ):
        assert f"{name} " in out
    assert "DIFFERS" not in out
    assert "environment: the same" in out
    (file,) = Path("runs/tiny").glob("*/reproduction.json")
    comparison = json.loads(file.read_text())
    assert comparison["same"] and comparison["of"] == "tiny/20260101-000000-first"
    assert manifest(file.parent)["recipe"]["data"]["train_contexts"] == 2
    assert (
        Path("runs/tiny/latest").readlink().name == "20260101-000000-first"
    )  # a reproduction does not become the latest run


def test_a_differing_output_is_reported_with_the_changed_environment(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _run()
    recorded = manifest()
    recorded["environment"]["packages"]["torch"] = "1.0"
    recorded["environment"]["flavor"] = "cu130"
    recorded["outputs"]["adapter/adapter_model.safetensors"] = "0" * 64
    (run / "manifest.json").write_text(json.dumps(recorded))
    assert _reproduce(run) == 1
    printed = capsys.readouterr()
    assert "adapter/adapter_model.safetensors  DIFFERS" in printed.out
    assert "it differs, which may be why" in printed.out
    assert "  flavor: cu130 -> cpu\n  torch: 1.0 -> 2." in printed.out
    assert "1 of " in printed.err and "differ: adapter/adapter_model.safetensors" in printed.err
    assert "reproduction.json" in printed.err


def test_other_data_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run()
    raw = Path("data/sample/raw/train.json")
    raw.write_text(raw.read_text().replace("2019", "2018"))
    assert step("format") == 0
    assert _reproduce(run) == 1
    assert "data.train.raw_sha256" in capsys.readouterr().err
    assert step("reproduce", "--run", "tiny/no-such") == 1
    assert "there are tiny/20260101-000000-first" in capsys.readouterr().err


def test_another_number_of_processes_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run()
    recorded = manifest()
    recorded["training"]["processes"] = 2
    (run / "manifest.json").write_text(json.dumps(recorded))
    assert _reproduce(run) == 1
    assert "2 processes, as tiny/20260101-000000-first had" in capsys.readouterr().err


def test_changes_list_only_the_differences() -> None:
    then = {"image_digest": "sha256:1", "threads": 2, "packages": {"torch": "2.13.0", "peft": "0.21.0"}}
    now = {"image_digest": "sha256:2", "threads": 2, "packages": {"torch": "2.13.0", "gguf": "1"}}
    assert changes(then, now) == {"image_digest": "sha256:1 -> sha256:2", "gguf": "None -> 1", "peft": "0.21.0 -> None"}
