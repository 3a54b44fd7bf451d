"""The same recipe, data and model give the same outputs; what differs is named, with what was another."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.reproduce import changes
from tests.steps import latest, manifest, step

SMALL = ("--set", "data.train_contexts=2", "--set", "data.evaluation_contexts=1")


def _run() -> Path:
    assert (
        step("train", *SMALL)
        == step("evaluate", "--set", "evaluation.max_new_tokens=3")
        == step("export", "--set", "export.dtype=float32")
        == 0
    )
    return latest()


def _again(run: Path) -> int:
    os.rename(run, run.with_name("20260101-000000-first"))
    Path("runs/tiny/latest").unlink()
    Path("runs/tiny/latest").symlink_to("20260101-000000-first")
    return step("reproduce", "--run", "tiny/20260101-000000-first")


def test_a_run_is_made_again_to_the_last_hash(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run()
    (place / "tiny.toml").write_text("[model]\nsource = 'other'\n")  # the recipe is the manifest's
    assert _again(run) == 0
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
    (made,) = Path("runs/tiny").glob("*/reproduction.json")
    found = json.loads(made.read_text())
    assert found["same"] and found["of"] == "tiny/20260101-000000-first"
    assert manifest(made.parent)["recipe"]["data"]["train_contexts"] == 2
    assert Path("runs/tiny/latest").readlink().name == "20260101-000000-first"  # a copy of an old run is not the newest


def test_what_differs_is_named_with_what_was_another(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run()
    made = manifest()
    made["environment"]["packages"]["torch"] = "1.0"
    made["environment"]["flavor"] = "cu130"
    made["outputs"]["adapter/adapter_model.safetensors"] = "0" * 64
    (run / "manifest.json").write_text(json.dumps(made))
    assert _again(run) == 1
    said = capsys.readouterr()
    assert "adapter/adapter_model.safetensors  DIFFERS" in said.out
    assert "it differs, which may be why" in said.out
    assert "  flavor: cu130 -> cpu\n  torch: 1.0 -> 2." in said.out
    assert "1 of " in said.err and "differ: adapter/adapter_model.safetensors" in said.err
    assert "reproduction.json" in said.err


def test_other_data_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run()
    raw = Path("data/sample/raw/train.json")
    raw.write_text(raw.read_text().replace("2019", "2018"))
    assert step("format") == 0
    assert _again(run) == 1
    assert "data.train.raw_sha256" in capsys.readouterr().err
    assert step("reproduce", "--run", "tiny/no-such") == 1
    assert "there are tiny/20260101-000000-first" in capsys.readouterr().err


def test_another_number_of_processes_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run()
    made = manifest()
    made["training"]["processes"] = 2
    (run / "manifest.json").write_text(json.dumps(made))
    assert _again(run) == 1
    assert "2 processes, as tiny/20260101-000000-first had" in capsys.readouterr().err


def test_changes_are_what_differs() -> None:
    then = {"image_digest": "sha256:1", "threads": 2, "packages": {"torch": "2.13.0", "peft": "0.21.0"}}
    now = {"image_digest": "sha256:2", "threads": 2, "packages": {"torch": "2.13.0", "gguf": "1"}}
    assert changes(then, now) == {"image_digest": "sha256:1 -> sha256:2", "gguf": "None -> 1", "peft": "0.21.0 -> None"}


def test_a_resume_takes_the_unfinished_run_of_its_own_recipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two that were killed, so that a sweep goes on with the right one."""
    from pipeline import job
    from pipeline.recipe import as_values, load
    from pipeline.runs import manifest as manifests
    from pipeline.runs import store

    for words in (["lora.r=2"], ["lora.r=8"]):
        begun = job.resolve(load("tiny.toml", words))
        store.create(begun.runs, as_values(begun.recipe), {"inputs": manifests.inputs(begun)})
    assert step("train", "--resume", "--set", "lora.r=2") == 0
    assert manifest()["recipe"]["lora"]["r"] == 2
    assert step("train", "--resume") == 1
    assert "lora.r: 8 then, 4 now" in capsys.readouterr().err
    assert step("resolve", "--set", "lora.r=8") == 0
    resolved = json.loads(capsys.readouterr().out)
    assert (resolved["name"], resolved["recipe"]["lora"]["r"]) == ("tiny", 8)
