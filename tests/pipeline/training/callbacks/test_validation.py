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
from pipeline.training.callbacks.metrics import MetricsCallback
from pipeline.training.callbacks.validation import ValidationCallback, divide
from pipeline.training.collator import Collator
from pipeline.training.loss import give_answer_loss
from tests.models import CONTEXTS, loss_and_gradients, random_model
from tests.steps import latest, manifest, overrides, run_train, start_train, step, wait_until

VALIDATED = overrides(
    "training.heldout_contexts=2",
    "training.heldout_steps=2",
    "training.early_stopping=2",
    "training.learning_rate=0.1",
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
    assert measured.index(best) == len(measured) - 3  # the patience is two measurements
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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("training.heldout_contexts=6",), "more contexts than training.heldout_contexts = 6"),
        (("model.width=512",), "model.random = true"),
        (("training.early_stopping=2",), "training.heldout_contexts above 0, since early stopping watches their loss"),
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
