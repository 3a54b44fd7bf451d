"""Several ranks make the steps of a single process, and all end with one message where they cannot."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import distributed
from pipeline.errors import Stop
from tests.conftest import ROOT
from tests.steps import (
    assert_same_curve,
    checkpoints,
    curve,
    manifest,
    overrides,
    run_train,
    start_train,
    step,
    wait_until,
)


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
    wanted, single = curve(), manifest()["training"]
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
    assert_same_curve(wanted)
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


def test_a_single_process_is_rank_0_of_1(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert (distributed.rank(), distributed.world_size(), distributed.local_world_size()) == (0, 1, 1)
    assert distributed.all_gather("x") == ["x"]
    assert distributed.all_reduce_min(3) == 3
    assert distributed.any_rank(True, "cpu") and not distributed.any_rank(False, "cpu")
    with pytest.raises(Stop, match="wanted: a"):
        distributed.on_rank_zero(_stop)


def _stop() -> None:
    raise Stop("a", "b", "c", "d")


def test_a_lost_connection_is_told_from_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(distributed.Lost, match="all 2 ranks") as lost, distributed.reporting_lost_ranks():
        raise RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4711")
    assert "found: another one ended, or cannot be reached: Connection closed by peer" in str(lost.value)
    with pytest.raises(RuntimeError, match="shape"), distributed.reporting_lost_ranks():
        raise RuntimeError("shape '[2, 3]' is invalid")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(RuntimeError, match="closed"), distributed.reporting_lost_ranks():
        raise RuntimeError("Connection closed by peer")
