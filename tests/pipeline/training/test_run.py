"""Runs: the same recipe gives the same adapter, and a resume continues exactly or is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.models import load
from tests.steps import latest, manifest, overrides, step, train_until_killed


def test_the_same_recipe_gives_the_same_adapter(place: Path) -> None:
    assert step("train") == 0
    first = manifest()["training"]
    os.rename("runs", "runs-before")
    assert step("train") == 0
    assert manifest()["training"]["adapter_sha256"] == first["adapter_sha256"]
    os.rename("runs", "runs-second")
    assert step("train", "--set", "training.seed=7") == 0
    assert manifest()["training"]["adapter_sha256"] != first["adapter_sha256"]


def test_a_killed_run_resumes_to_the_same_adapter(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train") == 0
    adapter, tokens = manifest()["training"]["adapter_sha256"], manifest()["training"]["tokens"]
    losses = [json.loads(line)["loss"] for line in (latest() / "metrics.jsonl").read_text().splitlines()]
    os.rename("runs", "runs-before")

    run = train_until_killed(10, monkeypatch)
    assert step("evaluate") == 1
    assert "invoke train --resume" in capsys.readouterr().err
    # as after a power cut while the newest checkpoint is written
    (run / "checkpoints" / "checkpoint-8" / "optimizer.pt").write_bytes(b"half")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "lo')
    assert step("train", "--resume") == 0
    out = capsys.readouterr().out
    assert "checkpoint-8 is corrupt" in out
    assert "resuming from" in out and "checkpoint-4" in out
    assert latest() == run.resolve()
    assert manifest()["training"]["adapter_sha256"] == adapter
    assert [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()] == losses
    assert manifest()["training"]["tokens"] == tokens


def test_a_resume_with_another_recipe_lists_the_differences(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_until_killed(5, monkeypatch)
    assert step("train", "--resume", "--set", "lora.r=8") == 1
    assert "lora.r: 4 then, 8 now" in capsys.readouterr().err


def test_a_resume_without_an_unfinished_run_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--resume") == 1
    assert "found: none" in capsys.readouterr().err


def test_a_resume_on_other_data_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_until_killed(6, monkeypatch)
    raw = Path("data/sample/raw/train.json")
    raw.write_text(raw.read_text().replace("2019", "2018"))
    assert step("format") == 0
    assert step("train", "--resume") == 1
    assert "data.train.raw_sha256" in capsys.readouterr().err
    (run / "unfinished.json").write_text("{}")
    assert step("train", "--resume") == 1
    assert "the recipe and inputs that the run was started with" in capsys.readouterr().err


def test_a_run_killed_after_writing_its_manifest_counts_as_finished(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train", "--set", "data.train_contexts=1") == 0
    run = latest()
    (run / "unfinished.json").write_text(json.dumps({"recipe": manifest(run)["recipe"], "inputs": {}}))
    Path("runs/tiny/latest").unlink()
    assert step("train", "--resume") == 1  # of another recipe
    assert "an unfinished run to resume" in capsys.readouterr().err
    assert step("train", "--resume", "--set", "data.train_contexts=1") == 0
    out = capsys.readouterr().out
    assert "had finished already" in out
    assert f"sha256 {manifest()['training']['adapter_sha256']}" in out
    assert latest() == run
    assert not (run / "unfinished.json").exists()


def test_a_resume_in_another_environment_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = overrides("data.train_contexts=3")
    for name, value in (("LOCK", "aaaa"), ("REVISION", "first")):
        monkeypatch.setenv(f"PINTUNE_{name}", value)
    train_until_killed(6, monkeypatch, *words)
    monkeypatch.setenv("PINTUNE_LOCK", "bbbb")
    assert step("train", "--resume", *words) == 1
    message = capsys.readouterr().err
    assert "lock_sha256: aaaa then, bbbb now" in message and "git checkout first" in message
    monkeypatch.setenv("PINTUNE_LOCK", "aaaa")
    monkeypatch.setattr(load, "precision", lambda recipe: ("bf16", "as if a GPU were there"))
    assert step("train", "--resume", *words) == 1
    assert "precision: fp32 on cpu then, bf16 on cpu now" in capsys.readouterr().err


def test_a_resume_with_other_code_warns(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PINTUNE_REVISION", "first")
    train_until_killed(6, monkeypatch)
    (run,) = Path("runs/tiny").glob("[0-9]*")
    assert step("reproduce", "--run", f"tiny/{run.name}") == 1
    assert "next: invoke train --resume" in capsys.readouterr().err
    monkeypatch.setenv("PINTUNE_REVISION", "second")
    assert step("train", "--resume") == 0
    assert "other code, so the adapter may differ: revision: first then, second now" in capsys.readouterr().out


def test_a_resume_takes_the_unfinished_run_with_its_recipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs are unfinished; the one with the values of this call is resumed, as a sweep needs."""
    from pipeline import job
    from pipeline.recipe import as_values, load
    from pipeline.runs import manifest as manifests
    from pipeline.runs import store

    for words in (["lora.r=2"], ["lora.r=8"]):
        started = job.resolve(load("tiny.toml", words))
        store.create(started.runs, as_values(started.recipe), {"inputs": manifests.inputs(started)})
    assert step("train", "--resume", "--set", "lora.r=2") == 0
    assert manifest()["recipe"]["lora"]["r"] == 2
    assert step("train", "--resume") == 1
    assert "lora.r: 8 then, 4 now" in capsys.readouterr().err
    assert step("resolve", "--set", "lora.r=8") == 0
    resolved = json.loads(capsys.readouterr().out)
    assert (resolved["name"], resolved["recipe"]["lora"]["r"]) == ("tiny", 8)


def test_an_engine_repeats_one_command_that_resumes_or_starts(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The unfinished run of another recipe is left alone; a finished one is not trained again into the same folder."""
    words = ("train", "--resume-or-start", "--set", "training.epochs=1")
    killed = train_until_killed(5, monkeypatch)  # of two epochs
    assert step(*words) == 0
    started, out = latest(), capsys.readouterr().out
    assert (started != killed.resolve(), "resuming" in out, manifest()["training"]["resumed"]) == (True, False, False)
    assert step("train", "--resume-or-start") == 0
    assert f"resuming from {killed}" in capsys.readouterr().out
    assert (latest(), manifest()["training"]["resumed"]) == (killed.resolve(), True)
    assert step("train", "--resume-or-start") == 0
    assert latest() not in (killed.resolve(), started)


def test_a_start_that_fails_before_its_first_step_leaves_no_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.training import loop

    def fail(*positional: object) -> None:
        raise RuntimeError("before the first step")

    monkeypatch.setattr(loop, "train", fail)
    assert step("train", "--resume-or-start") == 1
    assert not list(Path("runs/tiny").glob("[0-9]*"))
