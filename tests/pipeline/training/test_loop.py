"""Precision, memory and being stopped: training as a process of its own where a signal is to reach it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from pipeline.recipe import load
from tests.steps import begin, finish, latest, losses, manifest, step, until


def test_checkpointing_gives_the_same_adapter_bit_for_bit(place: Path) -> None:
    assert step("train", "--set", "data.train_contexts=2") == 0
    whole = manifest()["training"]["adapter_sha256"]
    os.rename("runs", "runs-before")
    assert step("train", "--set", "data.train_contexts=2", "--set", "training.gradient_checkpointing=true") == 0
    assert manifest()["training"]["adapter_sha256"] == whole


def test_bf16_trains_an_adapter_in_fp32(place: Path) -> None:
    import torch
    from safetensors.torch import load_file

    assert step("train", "--set", "data.train_contexts=2") == 0
    wanted = losses()
    os.rename("runs", "runs-before")
    assert step("train", "--set", "data.train_contexts=2", "--set", "training.precision=bf16") == 0
    assert manifest()["training"]["precision"] == "bf16"
    assert losses() == pytest.approx(wanted, rel=0.03)
    assert losses() != wanted
    trained = load_file(latest() / "adapter" / "adapter_model.safetensors")
    assert {each.dtype for each in trained.values()} == {torch.float32}
    assert step("evaluate", "--set", "data.evaluation_contexts=1") == 0


def test_a_model_that_does_not_see_a_whole_question_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Our masks know no sliding window: training would quietly see more than the model does later."""
    from transformers import MistralConfig, MistralForCausalLM

    for name, said in (
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
        assert said in capsys.readouterr().err


def test_a_linear_layer_that_is_not_there_is_answered_with_those_that_are(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train", "--set", "lora.targets=['qkv_proj']") == 1
    assert "down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj" in capsys.readouterr().err
    assert step("train", "--set", "lora.r=0") == 1
    assert "lora.r: at least 1" in capsys.readouterr().err
    config = Path("models/tiny/config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "tie_word_embeddings": True}))
    assert step("train", "--set", "lora.targets=['lm_head']") == 1  # the input embeddings too: it could not be merged
    assert "among down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in capsys.readouterr().err


def test_an_adapter_that_would_not_fit_is_refused_before_the_first_step(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train", "--set", "lora.r=100000000") == 1
    said = capsys.readouterr().err
    assert "GiB of memory before the first step (weights 0.0, adapter " in said
    assert "a smaller lora.r" in said
    assert not list(Path("runs/tiny").glob("[0-9]*"))


def test_memory_that_runs_out_is_said(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from pipeline.training import loss

    def full(*given: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(loss, "answer_loss", full)
    assert step("train") == 1
    assert "training.gradient_checkpointing=true" in capsys.readouterr().err


def test_a_nan_in_the_data_is_refused_where_it_stands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = Path("data/sample/raw/train.json")
    contexts = json.loads(raw.read_text())
    contexts[1]["questions"][2]["answer"] = float("nan")
    raw.write_text(json.dumps(contexts))
    assert step("format") == 1
    assert "NaN" in capsys.readouterr().err


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_its_lines(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train", "--set", "training.learning_rate=1e30") == 1
    said = capsys.readouterr().err
    assert "next: lower training.learning_rate\n" in said
    (metrics,) = Path("runs/tiny").glob("*/metrics.jsonl")
    assert f"where: {metrics}" in said
    assert json.loads(metrics.read_text().splitlines()[-1])["loss"] is None


# ---- contexts held out


HELD_OUT = (
    "--set",
    "training.heldout_contexts=2",
    "--set",
    "training.heldout_steps=2",
    "--set",
    "training.early_stopping=2",
    "--set",
    "training.learning_rate=0.1",
    "--set",
    "training.epochs=8",
    "--set",
    "training.checkpoint_steps=3",
)


def _held_out(run: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["heldout_loss"]) for line in lines if "heldout_loss" in line]


def test_training_ends_when_the_loss_held_out_rises_and_the_best_adapter_is_kept(place: Path) -> None:
    assert step("train", *HELD_OUT) == 0
    run, made = latest(), manifest()["training"]
    measured = _held_out(run)
    assert [at for at, _ in measured] == [2 * (i + 1) for i in range(len(measured))]
    best = min(measured, key=lambda each: each[1])
    assert (made["best_step"], made["heldout_loss"], made["contexts"], made["heldout_contexts"]) == (*best, 4, 2)
    assert measured.index(best) == len(measured) - 3  # two measures later it ended
    assert made["steps"] == measured[-1][0] < 32
    (kept, last) = (run / name / "adapter_model.safetensors" for name in ("best", "adapter"))
    assert kept.read_bytes() == last.read_bytes()
    assert step("evaluate", "--set", "data.evaluation_contexts=1") == 0
    assert "Loss on contexts held out by step" in (run / "report.html").read_text()

    whole = made["adapter_sha256"]
    os.rename("runs", "runs-whole")
    process = begin(*HELD_OUT)
    until(
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
    metrics.unlink()  # as a machine without power may lose it; the checkpoint has it too
    shutil.move(metrics.parent / "best", "best-of-killed")
    status, out = finish("--resume", *HELD_OUT)
    assert status == 1
    assert "wanted: the best adapter so far, of step" in out
    shutil.move("best-of-killed", metrics.parent / "best")
    status, out = finish("--resume", *HELD_OUT)
    assert status == 0, out
    assert manifest()["training"]["adapter_sha256"] == whole
    assert _held_out(latest()) == measured


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("training.heldout_contexts=6",), "more contexts than training.heldout_contexts = 6"),
        (("model.width=512",), "model.random = true"),
        (("training.early_stopping=2",), "training.heldout_contexts above 0, since early stopping watches their loss"),
    ],
)
def test_what_cannot_be_held_out_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert step("train", *(word for each in words for word in ("--set", each))) == 1
    assert said in capsys.readouterr().err


def test_several_gpus_in_one_process_are_not_made_a_dataparallel(place: Path) -> None:
    from pipeline.training.arguments import training_arguments

    arguments = training_arguments(load("tiny.toml").training, "fp32", place)
    arguments._n_gpu = 4
    assert (arguments.n_gpu, arguments.train_batch_size) == (1, 1)
