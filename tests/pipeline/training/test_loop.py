"""The training loop: precision, memory, and the models, adapters and losses that it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.steps import latest, losses, manifest, overrides, step


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

    def full(*positional: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(loss, "answer_loss", full)
    assert step("train") == 1
    assert "training.gradient_checkpointing=true" in capsys.readouterr().err


def test_a_nan_loss_ends_the_run_and_keeps_its_metrics(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--set", "training.learning_rate=1e30") == 1
    message = capsys.readouterr().err
    assert "next: lower training.learning_rate\n" in message
    (metrics,) = Path("runs/tiny").glob("*/metrics.jsonl")
    assert f"where: {metrics}" in message
    assert json.loads(metrics.read_text().splitlines()[-1])["loss"] is None
