"""The validation split: its loss, the best adapter, and early stopping."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from pipeline.data.packing import collate
from pipeline.errors import Stop
from pipeline.recipe import Training
from pipeline.training.callbacks import tensorboard
from pipeline.training.callbacks.metrics import MetricsCallback
from pipeline.training.callbacks.validation import ValidationCallback, divide
from pipeline.training.collator import Collator
from pipeline.training.loss import give_answer_loss
from tests.models import CONTEXTS, loss_and_gradients, random_model
from tests.steps import (
    latest,
    manifest,
    overrides,
    run_train,
    start_train,
    step,
    train_until_killed,
    wait_until,
)

VALIDATED = overrides(
    "training.heldout_contexts=2",
    "training.heldout_steps=2",
    "training.early_stopping=1",
    "training.learning_rate=0.3",
    "training.epochs=8",
    "training.checkpoint_steps=3",
)


def _validation_losses(run: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["heldout_loss"]) for line in lines if "heldout_loss" in line]


def test_training_stops_early_and_keeps_the_best_adapter(place: Path) -> None:
    assert step("train", *VALIDATED) == 0
    run, training = latest(), manifest()["training"]
    measured = _validation_losses(run)
    assert [at for at, _ in measured] == [2 * (i + 1) for i in range(len(measured))]
    best = min(measured, key=lambda each: each[1])
    assert (training["best_step"], training["heldout_loss"]) == best
    assert (training["contexts"], training["heldout_contexts"]) == (4, 2)
    assert measured.index(best) == len(measured) - 2  # the patience is one measurement
    assert training["steps"] == measured[-1][0] < 32
    (best_adapter, last) = (run / name / "adapter_model.safetensors" for name in ("best", "adapter"))
    assert best_adapter.read_bytes() == last.read_bytes()
    assert step("evaluate", "--set", "data.evaluation_contexts=1") == 0
    assert "Validation loss by step" in (run / "report.html").read_text()

    uninterrupted = training["adapter_sha256"]
    os.rename("runs", "runs-uninterrupted")
    process = start_train(*VALIDATED)
    wait_until(
        lambda: [
            path
            for path in Path("runs/tiny").glob("*/metrics.jsonl")
            if path.read_text().count("heldout") >= len(measured) - 1
        ],
        process,
    )
    process.send_signal(signal.SIGKILL)
    process.communicate()
    [metrics] = Path("runs/tiny").glob("*/metrics.jsonl")
    metrics.unlink()  # a power cut may lose it; the checkpoint has a copy
    shutil.move(metrics.parent / "best", "best-of-killed")
    status, out = run_train("--resume", *VALIDATED)
    assert status == 1
    assert "wanted: the best adapter so far, of step" in out
    shutil.move("best-of-killed", metrics.parent / "best")
    status, out = run_train("--resume", *VALIDATED)
    assert status == 0, out
    assert manifest()["training"]["adapter_sha256"] == uninterrupted
    assert _validation_losses(latest()) == measured


ANSWERED = overrides(
    "data.source=said.jsonl",
    "data.train_contexts=0",
    "evaluation.batch_questions=5",
    "lora.dropout=0.2",
    "training.heldout_contexts=12",
    "training.heldout_steps=2",
    "training.heldout_questions=10",
    'training.heldout_metric="em"',
    "training.batch_contexts=4",
    "training.epochs=3",
    "training.scheduler=constant_with_warmup",
    "training.learning_rate=0.02",
    "training.early_stopping=4",
    "training.checkpoint_steps=3",
)


@pytest.fixture
def said(place: Path) -> Path:
    """A file of rows whose answers a tiny model learns in part."""
    lines = [{"instruction": "Say", "input": f"{'ab'[i % 2]} {i}", "output": "ab"[i % 2]} for i in range(60)]
    Path("said.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert step("fetch", *ANSWERED) == step("format", *ANSWERED) == 0
    return place


def _measured(run: Path) -> list[tuple[int, float, float]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["heldout_em"], line["heldout_loss"]) for line in lines if "heldout_em" in line]


def _kill_and_resume(measurements: int, *words: str) -> str:
    """Kill a run once it has measured so often, and resume it; returns what the resumed one printed."""
    process = start_train(*words)
    wait_until(
        lambda: any(
            path.read_text().count("heldout_em") >= measurements for path in Path("runs/tiny").glob("*/metrics.jsonl")
        ),
        process,
    )
    process.send_signal(signal.SIGKILL)
    process.communicate()
    status, out = run_train("--resume", *words)
    assert status == 0, out
    return out


def test_the_best_adapter_by_em_is_kept_and_a_killed_run_keeps_the_same(said: Path) -> None:
    assert step("train", *ANSWERED) == 0
    run, training = latest(), manifest()["training"]
    measured = _measured(run)
    assert len({em for _, em, _ in measured}) > 2
    best = max(measured, key=lambda each: (each[1], -each[2]))
    assert best[0] != min(measured, key=lambda each: each[2])[0]  # by loss it would be another one
    assert (training["best_step"], training["heldout_em"], training["heldout_loss"]) == best
    assert (training["best_metric"], training["heldout_questions"], training["heldout_contexts"]) == ("em", 10, 12)
    assert measured.index(best) == len(measured) - 5 and training["steps"] == measured[-1][0] < 33  # stopped by EM
    (best_adapter, last) = (run / name / "adapter_model.safetensors" for name in ("best", "adapter"))
    assert best_adapter.read_bytes() == last.read_bytes()
    events = next(tensorboard.folder(run).iterdir()).read_bytes()
    assert b"train/heldout_em" in events
    os.rename("runs", "runs-uninterrupted")
    assert "resuming from" in _kill_and_resume(4, *ANSWERED)
    assert manifest()["training"]["adapter_sha256"] == training["adapter_sha256"]
    assert _measured(latest()) == measured
    assert step("evaluate") == 0
    page = (latest() / "report.html").read_text()
    assert "Validation EM by step" in page


def test_answering_changes_no_step_of_a_run(said: Path) -> None:
    """With dropout, whose random numbers follow each other from step to step."""
    adapters = []
    for count in (0, 10):
        words = overrides("training.heldout_metric=loss", f"training.heldout_questions={count}", "training.epochs=1")
        assert step("train", *ANSWERED, *words) == 0
        assert len(_measured(latest())) == (6 if count else 0)
        assert manifest()["training"]["best_metric"] == "loss"
        adapters.append(manifest()["training"]["adapter_sha256"])
    assert adapters[0] == adapters[1]


def test_a_resume_that_would_answer_otherwise_is_refused(
    said: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_until_killed(3, monkeypatch, *ANSWERED)
    assert step("train", "--resume", *ANSWERED, "--set", "evaluation.max_new_tokens=7") == 1
    assert "evaluation.max_new_tokens: 4 then, 7 now" in capsys.readouterr().err


@pytest.mark.parametrize("fsdp", ["false", "true"])
def test_two_ranks_find_the_best_adapter_of_one(said: Path, fsdp: str) -> None:
    """DistributedDataParallel's ranks share the questions; a sharded model's answer them together."""
    words = (*ANSWERED, *overrides("lora.dropout=0", "training.epochs=0.6"))
    assert step("train", *words) == 0
    single, measured = manifest()["training"], _measured(latest())
    assert len({em for _, em, _ in measured}) > 1
    os.rename("runs", "runs-single")
    words = (*words, *overrides(f"training.fsdp={fsdp}"), "--processes", "2")
    status, out = run_train(*words)
    assert status == 0, out
    both = manifest()["training"]
    assert both["processes"] == 2
    assert [(at, em) for at, em, _ in _measured(latest())] == [(at, em) for at, em, _ in measured]
    assert (both["best_step"], both["heldout_em"]) == (single["best_step"], single["heldout_em"])
    os.rename("runs", "runs-uninterrupted")
    assert "resuming from" in _kill_and_resume(2, *words)
    assert manifest()["training"]["adapter_sha256"] == both["adapter_sha256"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("training.heldout_contexts=6",), "more contexts than training.heldout_contexts = 6"),
        (("model.width=512",), "model.random = true"),
        (("training.heldout_questions=8",), "training.heldout_contexts above 0"),
        (("training.heldout_metric=em",), "training.heldout_questions above 0"),
        (("training.early_stopping=2",), "training.heldout_contexts above 0, since early_stopping"),
    ],
)
def test_an_impossible_validation_split_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert step("train", *overrides(*words)) == 1
    assert message in capsys.readouterr().err


def test_the_last_contexts_are_the_validation_split() -> None:
    train, validation = divide(CONTEXTS, 2)
    assert (train, validation) == (CONTEXTS[:3], CONTEXTS[3:])
    assert divide(CONTEXTS, 0) == (CONTEXTS, [])
    with pytest.raises(Stop, match=r"more contexts than training\.heldout_contexts = 5"):
        divide(CONTEXTS, 5)


def test_the_loss_is_the_mean_over_the_answer_tokens_of_the_split(tmp_path: Path) -> None:
    model, settings = random_model("llama"), Training(batch_contexts=2, row_tokens=2048)
    (wanted, _) = loss_and_gradients(model, [collate(CONTEXTS, "none", 1)])
    give_answer_loss(model)
    metrics = MetricsCallback(tmp_path, resumed=False)
    callback = ValidationCallback(CONTEXTS, settings, Collator("shared", 1, 2048), tmp_path, metrics)
    model.train()
    assert callback.loss(model) == pytest.approx(wanted, rel=1e-6)
    assert model.training
