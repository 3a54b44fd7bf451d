"""The training loop: precision, memory, models and adapters that are refused, and the validation split."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.recipe import load
from tests.steps import latest, losses, manifest, overrides, run_train, start_train, step, wait_until


def test_gradient_checkpointing_gives_the_same_adapter_bit_for_bit(place: Path) -> None:
    assert step("train", "--set", "data.train_contexts=2") == 0
    uninterrupted = manifest()["training"]["adapter_sha256"]
    os.rename("runs", "runs-before")
    assert step("train", *overrides("data.train_contexts=2", "training.gradient_checkpointing=true")) == 0
    assert manifest()["training"]["adapter_sha256"] == uninterrupted


def test_bf16_keeps_the_adapter_in_fp32(place: Path) -> None:
    import torch
    from safetensors.torch import load_file

    assert step("train", "--set", "data.train_contexts=2") == 0
    wanted = losses()
    os.rename("runs", "runs-before")
    assert step("train", *overrides("data.train_contexts=2", "training.precision=bf16")) == 0
    assert manifest()["training"]["precision"] == "bf16"
    assert losses() == pytest.approx(wanted, rel=0.03)
    assert losses() != wanted
    trained = load_file(latest() / "adapter" / "adapter_model.safetensors")
    assert {each.dtype for each in trained.values()} == {torch.float32}
    assert step("evaluate", "--set", "data.evaluation_contexts=1") == 0


def test_a_model_with_a_shorter_view_than_max_length_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The packing masks have no sliding window: training would attend to more than generation does."""
    from transformers import MistralConfig, MistralForCausalLM

    for name, message in (
        ("sliding_window", "sliding window of 300 tokens"),
        ("max_position_embeddings", "positions of 300 tokens"),
    ):
        config = {
            "vocab_size": 300,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "pad_token_id": 1,
            "sliding_window": None,
            name: 300,
        }
        MistralForCausalLM(MistralConfig(**config)).save_pretrained("models/tiny")
        assert step("train") == 1
        assert message in capsys.readouterr().err


def test_an_unknown_lora_target_lists_the_linear_layers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--set", "lora.targets=['qkv_proj']") == 1
    assert "down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj" in capsys.readouterr().err
    assert step("train", "--set", "lora.r=0") == 1
    assert "lora.r: at least 1" in capsys.readouterr().err
    config = Path("models/tiny/config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "tie_word_embeddings": True}))
    assert step("train", "--set", "lora.targets=['lm_head']") == 1  # tied to the input embeddings
    assert "among down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in capsys.readouterr().err


def test_an_adapter_that_would_not_fit_is_refused_before_the_first_step(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train", "--set", "lora.r=100000000") == 1
    message = capsys.readouterr().err
    assert "GiB of memory before the first step (weights 0.0, adapter " in message
    assert "a smaller lora.r" in message
    assert not list(Path("runs/tiny").glob("[0-9]*"))


def test_out_of_memory_is_reported_with_settings_that_need_less(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from pipeline.training import loss

    def full(*given: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(loss, "answer_loss", full)
    assert step("train") == 1
    assert "training.gradient_checkpointing=true" in capsys.readouterr().err


def test_nan_in_the_data_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = Path("data/sample/raw/train.json")
    contexts = json.loads(raw.read_text())
    contexts[1]["questions"][2]["answer"] = float("nan")
    raw.write_text(json.dumps(contexts))
    assert step("format") == 1
    assert "NaN" in capsys.readouterr().err


def test_a_nan_loss_ends_the_run_and_keeps_its_metrics(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--set", "training.learning_rate=1e30") == 1
    message = capsys.readouterr().err
    assert "next: lower training.learning_rate\n" in message
    (metrics,) = Path("runs/tiny").glob("*/metrics.jsonl")
    assert f"where: {metrics}" in message
    assert json.loads(metrics.read_text().splitlines()[-1])["loss"] is None


# ---- the validation split


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
    assert (training["best_step"], training["heldout_loss"], training["contexts"], training["heldout_contexts"]) == (
        *best,
        4,
        2,
    )
    assert measured.index(best) == len(measured) - 3  # the patience is two measurements
    assert training["steps"] == measured[-1][0] < 32
    (best_adapter, last) = (run / name / "adapter_model.safetensors" for name in ("best", "adapter"))
    assert best_adapter.read_bytes() == last.read_bytes()
    assert step("evaluate", "--set", "data.evaluation_contexts=1") == 0
    assert "Loss on contexts held out by step" in (run / "report.html").read_text()

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


def test_several_gpus_in_one_process_do_not_become_a_dataparallel(place: Path) -> None:
    from pipeline.training.arguments import training_arguments

    arguments = training_arguments(load("tiny.toml").training, "fp32", place)
    arguments._n_gpu = 4
    assert (arguments.n_gpu, arguments.train_batch_size) == (1, 1)
