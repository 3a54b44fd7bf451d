"""Several processes on one machine: the steps of one, weights whole on each of them or spread (FSDP2)."""

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
from tests.steps import begin, finish, latest, manifest, saved, step, until


def test_two_processes_make_the_steps_of_one(place: Path) -> None:
    """Five contexts in twos, and one held out: the last step of an epoch, and the measure, leave one process with nothing. Then told to stop, and
    resumed."""
    words = (
        "--set",
        "data.train_contexts=6",
        "--set",
        "training.batch_contexts=2",
        "--set",
        "training.epochs=3",
        "--set",
        "training.heldout_contexts=1",
        "--set",
        "training.heldout_steps=4",
    )
    assert step("train", *words) == 0
    wanted, alone = _curve(), manifest()["training"]
    os.rename("runs", "runs-whole")
    together = ("--processes", "2")
    process = begin(*words, *together)
    until(
        lambda: [path for path in Path("runs/tiny").glob("*/metrics.jsonl") if path.read_text().count("\n") >= 3],
        process,
    )
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75, out
    status, out = finish("--resume", *words)
    assert status == 1
    assert "2 processes, as the run was started with" in out
    status, out = finish("--resume", *words, *together)
    assert status == 0, out
    assert out.count("resuming from") == 1
    _need_same_curve(wanted)
    made = manifest()["training"]
    assert (made["processes"], made["steps"], made["tokens"]) == (2, alone["steps"], alone["tokens"])


def test_told_to_stop_before_anything_is_saved_the_status_says_so(place: Path) -> None:
    process = begin("--processes", "2", "--set", "training.batch_contexts=2")
    until(lambda: list(Path("runs/tiny").glob("[0-9]*")), process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode in ((75,) if saved() else (143, -15)), out  # -15: before the launcher listened


def test_fewer_contexts_than_processes_are_refused_once(place: Path) -> None:
    status, out = finish("--processes", "2")
    assert status == 1
    assert out.count("--set training.batch_contexts=2") == 1
    assert not list(Path("runs/tiny").glob("[0-9]*"))


SPREAD = ("--processes", "2", "--set", "training.fsdp=true")


def test_a_spread_model_makes_the_steps_of_one_process_and_resumes_exactly(place: Path) -> None:
    """Rows of 2000 tokens, of which the two processes have unlike numbers, two batches a step, with checkpointing; held-out loss and the best
    adapter; killed, and resumed; told to stop, and resumed."""
    chosen = {
        "batch_contexts": 3,
        "epochs": 6,
        "row_tokens": 2000,
        "accumulation": 2,
        "gradient_checkpointing": "true",
        "heldout_contexts": 3,
        "heldout_steps": 2,
    }
    words = (
        "--set",
        "data.train_contexts=8",
        *(word for key, value in chosen.items() for word in ("--set", f"training.{key}={value}")),
    )
    assert step("train", *words) == 0
    wanted, alone = _curve(), manifest()["training"]
    os.rename("runs", "runs-alone")
    status, out = finish(*words, *SPREAD)
    assert status == 0, out
    _need_same_curve(wanted)
    made = manifest()["training"]
    assert (made["processes"], made["tokens"], made["best_step"]) == (2, alone["tokens"], alone["best_step"])
    kept, last = (latest() / name / "adapter_model.safetensors" for name in ("best", "adapter"))
    assert kept.read_bytes() == last.read_bytes()
    assert step("evaluate", "--set", "data.evaluation_contexts=1") == 0  # a whole adapter, as any other
    os.rename("runs", "runs-whole")
    process = begin(*words, *SPREAD)
    until(lambda: [path for path in saved() if path.name == "checkpoint-2"], process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    process = begin(*words, *SPREAD, "--resume")
    until(lambda: [path for path in saved() if path.name == "checkpoint-4"], process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75, out
    status, out = finish(*words, *SPREAD, "--resume")
    assert status == 0, out
    assert "resuming from" in out
    assert manifest()["training"]["adapter_sha256"] == made["adapter_sha256"]


def _curve() -> list[dict[str, float]]:
    keys = ("step", "loss", "heldout_loss", "grad_norm", "tokens", "questions")
    lines = map(json.loads, (latest() / "metrics.jsonl").read_text().splitlines())
    return [{key: line[key] for key in keys if key in line} for line in lines]


def _need_same_curve(wanted: list[dict[str, float]]) -> None:
    assert [
        key
        for line, other in zip(_curve(), wanted, strict=True)
        for key in line
        if line[key] != pytest.approx(other[key], rel=1e-4)
    ] == []


# the files of one of two machines, what is changed in one of them (nothing: it is deleted), and what is said
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


@pytest.mark.parametrize(("file", "change", "said"), OTHERS)
def test_a_machine_that_is_not_like_the_first_ends_all_with_a_word(
    place: Path, file: str, change: tuple[str, str] | None, said: list[str]
) -> None:
    """As torchrun on several machines has it, each with a disk of its own."""
    recipe = Path("tiny.toml")
    recipe.write_text(recipe.read_text().replace("[training]", '[training]\nprecision = "auto"'))
    Path("other").mkdir()
    for name in ("data", "models"):
        shutil.copytree(name, Path("other", name))
    shutil.copy("tiny.toml", "other")
    Path("look.py").write_text(ELSEWHERE)
    changed = Path("other", file)
    if change is None:
        changed.unlink()
    else:
        assert change[0] in changed.read_text()
        changed.write_text(changed.read_text().replace(*change))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "look.py"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 1
    assert [done.stderr.count(words) for words in said] == [1] * len(said), done.stderr
    assert not list(Path("runs").glob("*/[0-9]*"))


SPREAD_MODEL = """
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


def _said(tmp_path: Path, script: str) -> list[str]:
    """What two processes print of a model that is spread over them, one's lines after the other's."""
    path = tmp_path / "look.py"
    path.write_text(SPREAD_MODEL + script)
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
        str(path),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for file in sorted(tmp_path.rglob("stdout.log")) for line in file.read_text().splitlines()]


def test_each_process_holds_its_part_of_every_weight(tmp_path: Path) -> None:
    """Half of them, frozen ones in bf16 and the adapter's in fp32."""
    script = "print(sum(weight.to_local().numel() for weight in adapted.parameters()) / before, sorted({str(each.dtype) for each in adapted.parameters()}))"
    shares = [line.split(maxsplit=1) for line in _said(tmp_path, script)]
    assert [kinds for _, kinds in shares] == ["['torch.bfloat16', 'torch.float32']"] * 2
    assert [float(share) for share, _ in shares] == pytest.approx([0.5, 0.5], abs=0.01)


def test_an_overflow_in_one_processs_part_is_skipped_by_all(tmp_path: Path) -> None:
    """What fp16 does, with a GradScaler on the CPU: the scale halves everywhere, and nobody steps."""
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
    assert _said(tmp_path, script) == ["65536.0 False", "32768.0 True"] * 2


def test_processes_that_meet_in_every_pass_have_the_same_number_of_rows() -> None:
    shares = [Collator("shared", 1, 80, number, 2, even=True)(CONTEXTS[:3]) for number in range(2)]
    uneven = [Collator("shared", 1, 80, number, 2)(CONTEXTS[:3]) for number in range(2)]
    assert len(uneven[0]["labels"]) != len(uneven[1]["labels"])
    assert len(shares[0]["labels"]) == len(shares[1]["labels"]) == max(len(each["labels"]) for each in uneven)
    answers = [sum(int((each["labels"] != packing.IGNORED).sum()) for each in made) for made in (shares, uneven)]
    assert answers[0] == answers[1]


def test_one_process_cannot_spread_a_model(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--set", "training.fsdp=true") == 1
    assert "several processes to shard the model over" in capsys.readouterr().err
