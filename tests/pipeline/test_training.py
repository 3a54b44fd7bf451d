"""Precision, memory and being stopped: training as a process of its own where a signal is to reach it."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import folders
from pipeline.recipe import load
from pipeline.training import resume
from tests.steps import begin, finish, latest, losses, manifest, saved, step, until

pytestmark = pytest.mark.filterwarnings("ignore")


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

    for name, said in (("sliding_window", "sliding window of 300 tokens"), ("max_position_embeddings", "positions of 300 tokens")):
        config = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
                  "num_key_value_heads": 2, "pad_token_id": 1, "sliding_window": None, name: 300}  # fmt: skip
        MistralForCausalLM(MistralConfig(**config)).save_pretrained("models/tiny")
        assert step("train") == 1
        assert said in capsys.readouterr().err


def test_a_linear_layer_that_is_not_there_is_answered_with_those_that_are(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--set", "lora.targets=['qkv_proj']") == 1
    assert "down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj" in capsys.readouterr().err
    assert step("train", "--set", "lora.r=0") == 1
    assert "lora.r: at least 1" in capsys.readouterr().err


def test_an_adapter_that_would_not_fit_is_refused_before_the_first_step(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--set", "lora.r=100000000") == 1
    said = capsys.readouterr().err
    assert "GiB of memory before the first step (weights 0.0, adapter " in said
    assert "a smaller lora.r" in said
    assert not list(Path("runs/tiny").glob("[0-9]*"))


def test_memory_that_runs_out_is_said(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from pipeline.training import trainer

    def full(*given: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(trainer, "answer_loss", full)
    assert step("train") == 1
    assert "training.gradient_checkpointing=true" in capsys.readouterr().err


def test_a_nan_in_the_data_is_refused_where_it_stands(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = Path("data/sample/raw/train.json")
    contexts = json.loads(raw.read_text())
    contexts[1]["questions"][2]["answer"] = float("nan")
    raw.write_text(json.dumps(contexts))
    assert step("format") == 1
    assert "NaN" in capsys.readouterr().err


# ---- contexts held out


HELD_OUT = ("--set", "training.heldout_contexts=2", "--set", "training.heldout_steps=2", "--set", "training.early_stopping=2",
            "--set", "training.learning_rate=0.1", "--set", "training.epochs=8", "--set", "training.checkpoint_steps=3")  # fmt: skip


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
    until(lambda: [path for path in Path("runs/tiny").glob("*/metrics.jsonl") if path.read_text().count("heldout") >= len(measured) - 1], process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    status, out = finish("--resume", *HELD_OUT)
    assert status == 0, out
    assert manifest()["training"]["adapter_sha256"] == whole
    assert _held_out(latest()) == measured


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("training.heldout_contexts=6",), "more contexts than training.heldout_contexts = 6"),
        (("model.width=512",), "model.random = true"),
        (("training.early_stopping=2",), "training.heldout_contexts, on whose loss early stopping looks"),
    ],
)
def test_what_cannot_be_held_out_is_refused(place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    assert step("train", *(word for each in words for word in ("--set", each))) == 1
    assert said in capsys.readouterr().err


# ---- killed, and told to stop


@pytest.fixture
def whole(place: Path) -> dict[str, Any]:
    """What the run gives that nobody stops."""
    assert step("train") == 0
    made = {"adapter": manifest()["training"]["adapter_sha256"], "losses": losses()}
    os.rename("runs", "runs-whole")
    return made


def test_killed_again_and_again_it_ends_with_the_same_adapter(place: Path, whole: dict[str, Any]) -> None:
    """SIGKILL at moments nobody chose, mostly while checkpoints are written, since one is after every step."""
    chance, kills = random.Random(5), 0
    process = begin()
    while kills < 3:
        known = len(saved()) and int(saved()[-1].name.rpartition("-")[2])
        until(lambda known=known: any(int(path.name.rpartition("-")[2]) > known for path in saved()), process)
        time.sleep(chance.uniform(0, 0.15))
        if process.poll() is not None:
            break  # it was quicker
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        process = begin("--resume")
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert kills >= 2
    assert manifest()["training"]["adapter_sha256"] == whole["adapter"]
    assert losses() == whole["losses"]
    assert not list(latest().rglob(".*"))


def test_told_to_stop_it_saves_and_ends_with_a_status_of_its_own(place: Path, whole: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    process = begin("--set", "training.checkpoint_steps=1000")  # what is saved is saved for the signal
    until(lambda: [path for path in Path("runs/tiny").glob("*/metrics.jsonl") if path.read_text().count("\n") >= 2], process)
    assert step("train", "--resume") == 1
    assert "one that another process is training" in capsys.readouterr().err
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75, out
    (kept,) = saved()
    assert f"SIGTERM; step {kept.name.rpartition('-')[2]} is saved" in out
    assert "invoke train --resume" in out
    status, out = finish("--resume", "--set", "training.checkpoint_steps=1000")
    assert status == 0, out
    assert "going on from" in out
    assert manifest()["training"]["adapter_sha256"] == whole["adapter"]


def test_killed_between_manifest_and_mark_the_run_counts_as_finished(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--set", "data.train_contexts=1") == 0
    run = latest()
    (run / "unfinished.json").write_text(json.dumps({"recipe": {}, "inputs": {}}))
    Path("runs/tiny/latest").unlink()
    assert step("train", "--resume") == 0
    out = capsys.readouterr().out
    assert "had come to its end" in out
    assert f"sha256 {manifest()['training']['adapter_sha256']}" in out
    assert latest() == run
    assert not (run / "unfinished.json").exists()


def test_no_run_is_there_without_its_mark(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import runs

    def dies(path: Path, value: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "write_json", dies)
    with pytest.raises(KeyboardInterrupt):
        runs.create(load("tiny.toml"), {})
    assert list(folders.runs("tiny").glob("*")) == []


def test_a_checkpoint_counts_once_it_is_whole(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    for number in (8, 9, 10, 11):
        made = resume.aside(checkpoints) / f"checkpoint-{number}"
        made.mkdir(parents=True)
        (made / "adapter_model.safetensors").write_bytes(b"weights" * number)
        assert resume.newest_checkpoint(tmp_path)[0] == (checkpoints / f"checkpoint-{number - 1}" if number > 8 else None)
        resume.place(checkpoints, number, 3)
    assert sorted(path.name for path in checkpoints.iterdir()) == ["checkpoint-10", "checkpoint-11", "checkpoint-9"]
    (checkpoints / "checkpoint-11" / "adapter_model.safetensors").write_bytes(b"other")
    after = checkpoints / "checkpoint-12"  # half written, and still there when the run goes on from the one before
    after.mkdir()
    (checkpoints / "checkpoint-10" / "sealed.json").write_text("[")
    broken = [after, checkpoints / "checkpoint-11", checkpoints / "checkpoint-10"]
    assert resume.newest_checkpoint(tmp_path) == (checkpoints / "checkpoint-9", broken)
    made = resume.aside(checkpoints) / "checkpoint-10"
    made.mkdir(parents=True)
    resume.place(checkpoints, 10, 1)
    assert [path.name for path in checkpoints.iterdir()] == ["checkpoint-10"]
    assert resume.newest_checkpoint(tmp_path) == (checkpoints / "checkpoint-10", [])


def test_killed_after_the_last_step_it_does_none_more(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With epochs in halves an epoch is left, and with a learning rate that stays another step would show."""
    from pipeline.training import sharding

    words = ("--set", "training.epochs=1.5", "--set", 'training.scheduler="constant_with_warmup"', "--set", "data.train_contexts=4")
    assert step("train", *words) == 0
    wanted, curve = manifest()["training"], losses()
    assert wanted["steps"] == len(curve) == 6
    os.rename("runs", "runs-whole")

    class Killed(BaseException):
        pass

    def dying(path: Path) -> Any:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sharding, "new_folder", dying)
        step("train", *words)
    assert step("train", "--resume", *words) == 0
    assert manifest()["training"]["steps"] == 6
    assert losses() == curve
    assert manifest()["training"]["adapter_sha256"] == wanted["adapter_sha256"]


def test_several_gpus_in_one_process_are_not_made_a_dataparallel(place: Path) -> None:
    from pipeline.training import loop

    arguments = loop._arguments(load("tiny.toml"), "fp32", place)
    arguments._n_gpu = 4
    assert (arguments.n_gpu, arguments.train_batch_size) == (1, 1)
