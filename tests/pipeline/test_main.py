"""The command line: the steps in order on a tiny random model, what they write, and which calls they refuse."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.steps import RECIPE, latest, manifest, step


def test_train_evaluate_export_and_ask_run_in_order(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train") == step("evaluate") == step("export") == step("ask", "--context", "1") == 0
    run = latest()
    recorded = manifest()
    assert recorded["training"]["steps"] == 12
    assert recorded["environment"]["flavor"] == "cpu"
    assert recorded["environment"]["packages"]["torch"]
    assert {
        "adapter/adapter_model.safetensors",
        "merged/model.safetensors",
        "merged/chat_template.jinja",
        "merged/generation_config.json",
        "predictions.json",
        "predictions-base.json",
        "answers.jsonl",
        "evaluation.json",
        "metrics.jsonl",
    } <= recorded["outputs"].keys()
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 12
    predictions = json.loads((run / "predictions.json").read_text())
    assert len(predictions) == 12
    assert all(len(pair) == 2 and isinstance(pair[1], str) for pair in predictions.values())
    assert not list(run.glob(".*"))
    printed = capsys.readouterr().out
    assert "EM base  tuned" in printed
    assert "Answer: " in printed


def test_the_same_recipe_gives_the_same_adapter(place: Path) -> None:
    assert step("train") == 0
    first = manifest()["training"]
    os.rename("runs", "runs-before")
    assert step("train") == 0
    assert manifest()["training"]["adapter_sha256"] == first["adapter_sha256"]
    os.rename("runs", "runs-second")
    assert step("train", "--set", "training.seed=7") == 0
    assert manifest()["training"]["adapter_sha256"] != first["adapter_sha256"]


def test_packing_does_not_change_the_losses(place: Path) -> None:
    losses = []
    for packing in ("shared", "none"):
        shutil.rmtree("runs", ignore_errors=True)
        assert step("train", "--set", f"training.packing={packing}") == 0
        losses.append([json.loads(line)["loss"] for line in (latest() / "metrics.jsonl").read_text().splitlines()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def _killed(monkeypatch: pytest.MonkeyPatch, at: int) -> Path:
    """The folder of a run that is killed after step `at`."""
    from pipeline.training.callbacks import metrics

    class Killed(BaseException):
        pass

    on_log = metrics.MetricsCallback.on_log

    def dying(self: Any, args: Any, state: Any, *rest: Any, **more: Any) -> None:
        on_log(self, args, state, *rest, **more)
        if state.global_step == at:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(metrics.MetricsCallback, "on_log", dying)
        step("train")
    (run,) = (path.parent for path in Path("runs/tiny").glob("*/unfinished.json"))
    return run


def test_a_killed_run_resumes_to_the_same_adapter(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train") == 0
    whole, tokens = manifest()["training"]["adapter_sha256"], manifest()["training"]["tokens"]
    losses = [json.loads(line)["loss"] for line in (latest() / "metrics.jsonl").read_text().splitlines()]
    os.rename("runs", "runs-before")

    run = _killed(monkeypatch, at=10)
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
    assert manifest()["training"]["adapter_sha256"] == whole
    assert [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()] == losses
    assert manifest()["training"]["tokens"] == tokens


def test_a_resume_with_another_recipe_lists_the_differences(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _killed(monkeypatch, at=5)
    assert step("train", "--resume", "--set", "lora.r=8") == 1
    assert "lora.r: 4 then, 8 now" in capsys.readouterr().err


def test_a_resume_without_an_unfinished_run_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--resume") == 1
    assert "found: none" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["manifest.json", "adapter/adapter_model.safetensors"])
def test_an_incomplete_run_is_refused(place: Path, capsys: pytest.CaptureFixture[str], missing: str) -> None:
    assert step("train") == 0
    (latest() / missing).unlink()
    before = sorted(path.name for path in latest().rglob("*"))
    for name in ("evaluate", "export"):
        assert step(name) == 1
        assert f"{missing} missing" in capsys.readouterr().err
    assert sorted(path.name for path in latest().rglob("*")) == before


def test_a_truncated_manifest_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train") == 0
    file = latest() / "manifest.json"
    file.write_text(file.read_text()[:100])
    assert step("evaluate") == 1
    assert "a manifest with recipe, inputs and outputs" in capsys.readouterr().err


def test_a_failed_merge_keeps_the_previous_merged_model(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.export import merge

    assert step("train") == step("export") == 0
    before = (latest() / "merged" / "model.safetensors").read_bytes()
    monkeypatch.setitem(merge._TOLERANCE, "bfloat16", 0.0)
    assert step("export", "--set", "export.dtype=bfloat16") == 1
    assert "of base + adapter" in capsys.readouterr().err
    assert (latest() / "merged" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--set", "lora.targets=['nothing']"), "down_proj"),
        (("train", "--set", "training.precision=fp16"), "training.precision=auto"),
        (("train", "--set", "training.max_length=20"), "invoke data"),
        (("train", "--set", "model.source=other"), "invoke fetch"),
        (("ask", "--context", "99"), "a context from 0 to 11"),
        (("export",), "invoke train"),
        (("evaluate", "--set", "lora.rank=3"), "a known key"),
        (("train", "--set", "training.seed=99999999999"), "below 4294967296"),
        (("train", "--set", "data.evaluation=train"), "another split to evaluate on"),
        (("fetch", "--set", "model.source=../x"), "the name of a folder under models/"),
    ],
)
def test_an_impossible_call_ends_in_one_message_and_writes_no_run(
    place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    if words[0] == "ask":
        assert step("train") == step("export") == 0
    before = sorted(Path("runs").rglob("*"))
    assert step(*words) == 1
    assert [path for path in sorted(Path("runs").rglob("*")) if path.name != "tiny"] == [
        path for path in before if path.name != "tiny"
    ]
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert all(f"\n{part}: " in printed for part in ("wanted", " found", " where", "  next"))


def _truncate(pattern: str) -> None:
    (file,) = Path().glob(pattern)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("truncated", "name", "message"),
    [
        ("models/tiny/model.safetensors", "train", "weights that can be read"),
        ("models/tiny/model.safetensors", "evaluate", "the model and data that the run was trained with"),
        ("models/tiny/tokenizer_config.json", "fetch", ""),
        ("runs/tiny/latest/adapter/adapter_model.safetensors", "evaluate", "weights that can be read"),
        ("data/sample/en-*/heldout.jsonl", "evaluate", "not as format left it"),
        ("data/sample/raw/train.json", "format", "JSON in UTF-8"),
        ("runs/tiny/latest/merged/model.safetensors", "ask", "then invoke export"),
    ],
)
def test_a_truncated_file_is_reported_and_nothing_is_written(
    place: Path, capsys: pytest.CaptureFixture[str], truncated: str, name: str, message: str
) -> None:
    assert step("train") == step("export") == 0
    _truncate(truncated)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    assert step(name) == (1 if message else 0)
    printed = capsys.readouterr().err
    assert message in printed
    assert "PINTUNE_DEBUG" not in printed
    if message:
        assert {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()} == before


def test_a_resume_on_other_data_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _killed(monkeypatch, at=6)
    raw = Path("data/sample/raw/train.json")
    raw.write_text(raw.read_text().replace("2019", "2018"))
    assert step("format") == 0
    assert step("train", "--resume") == 1
    assert "data.train.raw_sha256" in capsys.readouterr().err
    (run / "unfinished.json").write_text("{}")
    assert step("train", "--resume") == 1
    assert "the recipe and inputs that the run was started with" in capsys.readouterr().err


def test_an_invalid_context_keeps_the_previous_rows(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (rows,) = Path().glob("data/sample/en-*/train.jsonl")
    before = rows.read_bytes()
    raw = Path("data/sample/raw/train.json")
    contexts = json.loads(raw.read_text())
    contexts[1]["questions"][0]["scale"] = "dozen"
    raw.write_text(json.dumps(contexts))
    assert step("format") == 1
    assert "context 1, question 0, field 'scale'" in capsys.readouterr().err
    assert rows.read_bytes() == before


def test_ask_reads_a_context_from_a_file(
    place: Path, raw_context: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train") == step("export") == 0
    del raw_context["questions"]
    Path("mine.json").write_text(json.dumps(raw_context))
    assert step("ask", "--file", "mine.json", "--question", "What is new?") == 0
    assert "Question: What is new?\nAnswer: " in capsys.readouterr().out
    assert step("ask", "--file", "mine.json") == 1
    assert "--question" in capsys.readouterr().err


def test_missing_names_the_steps_to_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    for name, wanted in (("", "fetch\nformat\n"), ("fetch", "format\n"), ("format", "")):
        if name:
            assert step(name) == 0
        capsys.readouterr()
        assert step("missing") == 0
        assert capsys.readouterr().out == wanted
