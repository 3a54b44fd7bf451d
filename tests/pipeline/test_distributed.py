"""Several ranks on one machine make the steps of a single process; with FSDP2 they share the model too."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.data import packing
from pipeline.training.collator import Collator
from tests.conftest import ROOT
from tests.models import CONTEXTS
from tests.steps import checkpoints, latest, manifest, overrides, run_train, start_train, step, wait_until


def test_two_ranks_make_the_steps_of_one_process(place: Path) -> None:
    """One rank gets no context in the last step of an epoch and in the validation split; SIGTERM and a resume."""
    words = overrides(
        "data.train_contexts=6",
        "training.batch_contexts=2",
        "training.epochs=3",
        "training.heldout_contexts=1",
        "training.heldout_steps=4",
    )
    assert step("train", *words) == 0
    wanted, single = _curve(), manifest()["training"]
    os.rename("runs", "runs-uninterrupted")
    two_ranks = ("--processes", "2")
    process = start_train(*words, *two_ranks)
    wait_until(
        lambda: [path for path in Path("runs/tiny").glob("*/metrics.jsonl") if path.read_text().count("\n") >= 3],
        process,
    )
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75, out
    status, out = run_train("--resume", *words)
    assert status == 1
    assert "2 processes, as the run was started with" in out
    status, out = run_train("--resume", *words, *two_ranks)
    assert status == 0, out
    assert out.count("resuming from") == 1
    _assert_same_curve(wanted)
    training = manifest()["training"]
    assert (training["processes"], training["steps"], training["tokens"]) == (2, single["steps"], single["tokens"])


def test_the_exit_status_says_whether_a_preempted_run_has_saved(place: Path) -> None:
    process = start_train("--processes", "2", "--set", "training.batch_contexts=2")
    wait_until(lambda: list(Path("runs/tiny").glob("[0-9]*")), process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode in ((75,) if checkpoints() else (143, -15)), out  # -15: before the launcher has a handler


def test_fewer_contexts_than_ranks_are_refused_once(place: Path) -> None:
    status, out = run_train("--processes", "2")
    assert status == 1
    assert out.count("--set training.batch_contexts=2") == 1
    assert not list(Path("runs/tiny").glob("[0-9]*"))


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
    wanted, single = _curve(), manifest()["training"]
    os.rename("runs", "runs-single")
    status, out = run_train(*words, *SHARDED)
    assert status == 0, out
    _assert_same_curve(wanted)
    training = manifest()["training"]
    assert (training["processes"], training["tokens"], training["best_step"]) == (
        2,
        single["tokens"],
        single["best_step"],
    )
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


def _curve() -> list[dict[str, float]]:
    keys = ("step", "loss", "heldout_loss", "grad_norm", "tokens", "questions")
    lines = map(json.loads, (latest() / "metrics.jsonl").read_text().splitlines())
    return [{key: line[key] for key in keys if key in line} for line in lines]


def _assert_same_curve(wanted: list[dict[str, float]]) -> None:
    assert [
        key
        for line, other in zip(_curve(), wanted, strict=True)
        for key in line
        if line[key] != pytest.approx(other[key], rel=1e-4)
    ] == []


# a file of the second of two machines, the change in it (None: it is deleted), and parts of the message
OTHERS = [
    (
        "models/tiny/config.json",
        None,
        ["found: missing: model tiny", "where: data/ and models/, on rank 1", "next: invoke fetch data"],
    ),
    (
        "models/tiny/generation_config.json",
        ("{", '{"top_k": 7,'),
        ["model and data of rank 0", "found: others: model.files.generation_config.json"],
    ),
    ("tiny.toml", ("learning_rate = 1e-2", "learning_rate = 5e-2"), ["found: others: recipe.training.learning_rate"]),
    (
        "tiny.toml",
        ('precision = "auto"', 'precision = "fp16"'),
        ["wanted: a GPU for training.precision = fp16", "the recipe, [training] precision, on rank 1"],
    ),
]

ELSEWHERE = """
import os, sys
if os.environ["RANK"] == "1":
    os.chdir("other")
from pipeline.__main__ import main
sys.exit(main(["train", "--recipe", "tiny.toml", "--set", "training.batch_contexts=2"]))
"""


@pytest.mark.parametrize(("file", "change", "parts"), OTHERS)
def test_a_machine_that_differs_from_the_first_ends_all_ranks_with_one_message(
    place: Path, file: str, change: tuple[str, str] | None, parts: list[str]
) -> None:
    """Two ranks of torchrun with different working folders, as on machines that each have a disk of their own."""
    recipe = Path("tiny.toml")
    recipe.write_text(recipe.read_text().replace("[training]", '[training]\nprecision = "auto"'))
    Path("other").mkdir()
    for name in ("data", "models"):
        shutil.copytree(name, Path("other", name))
    shutil.copy("tiny.toml", "other")
    Path("script.py").write_text(ELSEWHERE)
    target = Path("other", file)
    if change is None:
        target.unlink()
    else:
        assert change[0] in target.read_text()
        target.write_text(target.read_text().replace(*change))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 1
    assert [done.stderr.count(part) for part in parts] == [1] * len(parts), done.stderr
    assert not list(Path("runs").glob("*/[0-9]*"))


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
    file.write_text(SHARDED_MODEL + script)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "--log-dir",
        str(tmp_path),
        "--redirects",
        "1",
        str(file),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
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


def test_even_batches_have_the_same_number_of_rows_on_every_rank() -> None:
    even = [Collator("shared", 1, 80, rank, 2, even=True)(CONTEXTS[:3]) for rank in range(2)]
    uneven = [Collator("shared", 1, 80, rank, 2)(CONTEXTS[:3]) for rank in range(2)]
    assert len(uneven[0]["labels"]) != len(uneven[1]["labels"])
    assert len(even[0]["labels"]) == len(even[1]["labels"]) == max(len(each["labels"]) for each in uneven)
    answers = [sum(int((each["labels"] != packing.IGNORED).sum()) for each in batches) for batches in (even, uneven)]
    assert answers[0] == answers[1]


def test_fsdp_needs_several_ranks(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--set", "training.fsdp=true") == 1
    assert "several processes to shard the model over" in capsys.readouterr().err
