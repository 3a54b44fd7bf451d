"""FSDP2: a model sharded over two ranks makes the steps of a single process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.training import fsdp
from tests.conftest import ROOT
from tests.steps import (
    assert_same_curve,
    checkpoints,
    curve,
    latest,
    manifest,
    overrides,
    run_train,
    start_train,
    step,
    wait_until,
)

SHARDED = ("--processes", "2", "--set", "training.fsdp=true")


def test_a_sharded_model_makes_the_steps_of_one_process_and_resumes_exactly(place: Path) -> None:
    """With uneven rows, accumulation, checkpointing and a validation split; then SIGKILL, SIGTERM and resumes."""
    words = overrides(
        "data.train_contexts=8",
        "training.batch_contexts=3",
        "training.epochs=6",
        "training.row_tokens=2000",
        "training.accumulation=2",
        "training.gradient_checkpointing=true",
        "training.heldout_contexts=3",
        "training.heldout_steps=2",
    )
    assert step("train", *words) == 0
    wanted, single = curve(), manifest()["training"]
    os.rename("runs", "runs-single")
    status, out = run_train(*words, *SHARDED)
    assert status == 0, out
    assert_same_curve(wanted)
    training = manifest()["training"]
    assert training["processes"] == 2
    assert [training[key] for key in ("tokens", "best_step")] == [single[key] for key in ("tokens", "best_step")]
    best, last = (latest() / name / "adapter_model.safetensors" for name in ("best", "adapter"))
    assert best.read_bytes() == last.read_bytes()
    assert step("evaluate", "--set", "data.evaluation_contexts=1") == 0  # the adapter file is not sharded
    os.rename("runs", "runs-uninterrupted")
    process = start_train(*words, *SHARDED)
    wait_until(lambda: [path for path in checkpoints() if path.name == "checkpoint-2"], process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = start_train(*words, *SHARDED, "--resume")
    wait_until(lambda: [path for path in checkpoints() if path.name == "checkpoint-4"], process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75, out
    status, out = run_train(*words, *SHARDED, "--resume")
    assert status == 0, out
    assert "resuming from" in out
    assert manifest()["training"]["adapter_sha256"] == training["adapter_sha256"]


SHARDED_MODEL = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from tests.models import random_model
from peft import LoraConfig, get_peft_model
from pipeline import distributed
from pipeline.training import fsdp
distributed.init()
base = random_model("llama").to(torch.bfloat16)
adapted = get_peft_model(base, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
before = sum(weight.numel() for weight in adapted.parameters())
fsdp.shard(adapted, base, "cpu")
trained = [weight for weight in adapted.parameters() if weight.requires_grad]
"""


def _print_on_two_ranks(tmp_path: Path, script: str) -> list[str]:
    """The lines that two ranks print about a model sharded over them: those of rank 0, then those of rank 1."""
    file = tmp_path / "script.py"
    file.write_text(f"{SHARDED_MODEL}{script}\ndistributed.leave()\n")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    logs = ["--log-dir", str(tmp_path), "--redirects", "1"]
    done = subprocess.run([*torchrun, *logs, str(file), str(ROOT)], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for file in sorted(tmp_path.rglob("stdout.log")) for line in file.read_text().splitlines()]


def test_each_rank_holds_its_shard_of_every_weight(tmp_path: Path) -> None:
    """Half of the weights each; frozen ones in bf16, those of the adapter in fp32."""
    script = """
share = sum(weight.to_local().numel() for weight in adapted.parameters()) / before
print(share, sorted({str(each.dtype) for each in adapted.parameters()}))
"""
    shares = [line.split(maxsplit=1) for line in _print_on_two_ranks(tmp_path, script)]
    assert [kinds for _, kinds in shares] == ["['torch.bfloat16', 'torch.float32']"] * 2
    assert [float(share) for share, _ in shares] == pytest.approx([0.5, 0.5], abs=0.01)


def test_all_ranks_skip_a_step_that_overflows_on_one(tmp_path: Path) -> None:
    """As in fp16, with a GradScaler on the CPU: the scale halves on both ranks, and neither takes the step."""
    script = """
scaler, optimizer = torch.amp.GradScaler("cpu"), torch.optim.SGD(trained, lr=0.1)
for overflows in (False, True):
    loss = adapted(input_ids=torch.tensor([[3, 4, 5]]), labels=torch.tensor([[3, 4, 5]])).loss
    scaler.scale(loss).backward()
    if overflows and distributed.rank() == 1:
        [weight for weight in trained if weight.grad is not None][-1].grad.to_local().fill_(float("inf"))
    held = [weight.to_local().clone() for weight in trained]
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    print(scaler.get_scale(), all(torch.equal(one, other.to_local()) for one, other in zip(held, trained)))
"""
    assert _print_on_two_ranks(tmp_path, script) == ["65536.0 False", "32768.0 True"] * 2


def test_fsdp_needs_several_ranks(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--set", "training.fsdp=true") == 1
    assert "several processes to shard the model over" in capsys.readouterr().err


def test_unsharded_tensors_pass_through() -> None:
    weight = torch.ones(2)
    state = {"state": {0: {"exp_avg": weight}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    gathered = fsdp.gather(state)
    assert gathered == state and gathered["state"][0]["exp_avg"] is weight
    assert fsdp.distribute(weight, torch.zeros(2)) is weight
