"""Killed, told to stop, out of disk: a run goes on to the adapter that it would have given undisturbed, or says why it cannot."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Paused
from pipeline.models import load
from pipeline.training import checkpoint as checkpoints
from pipeline.training import fsdp
from pipeline.training.callbacks.preemption import PreemptionCallback
from tests.steps import begin, finish, latest, losses, manifest, saved, step, until


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


def test_told_to_stop_it_saves_and_ends_with_a_status_of_its_own(
    place: Path, whole: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    process = begin("--set", "training.checkpoint_steps=1000")  # what is saved is saved for the signal
    until(
        lambda: [path for path in Path("runs/tiny").glob("*/metrics.jsonl") if path.read_text().count("\n") >= 2],
        process,
    )
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
    assert "resuming from" in out
    assert manifest()["training"]["adapter_sha256"] == whole["adapter"]


def test_killed_between_manifest_and_mark_the_run_counts_as_finished(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train", "--set", "data.train_contexts=1") == 0
    run = latest()
    (run / "unfinished.json").write_text(json.dumps({"recipe": manifest(run)["recipe"], "inputs": {}}))
    Path("runs/tiny/latest").unlink()
    assert step("train", "--resume") == 1  # another recipe's
    assert "an unfinished run to resume" in capsys.readouterr().err
    assert step("train", "--resume", "--set", "data.train_contexts=1") == 0
    out = capsys.readouterr().out
    assert "had finished already" in out
    assert f"sha256 {manifest()['training']['adapter_sha256']}" in out
    assert latest() == run
    assert not (run / "unfinished.json").exists()


def test_no_run_is_there_without_its_mark(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.runs import store

    def dies(path: Path, value: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_json", dies)
    with pytest.raises(KeyboardInterrupt):
        store.create(Path("runs/tiny"), {}, {"inputs": {}})
    assert list(Path("runs/tiny").glob("*")) == []


def test_a_checkpoint_counts_once_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for number in (8, 9, 10, 11):
        made = checkpoints.staging_folder(folder) / f"checkpoint-{number}"
        made.mkdir(parents=True)
        (made / "adapter_model.safetensors").write_bytes(b"weights" * number)
        assert checkpoints.newest_intact(tmp_path)[0] == (folder / f"checkpoint-{number - 1}" if number > 8 else None)
        checkpoints.publish(folder, number, 3)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-10", "checkpoint-11", "checkpoint-9"]
    (folder / "checkpoint-11" / "adapter_model.safetensors").write_bytes(b"other")
    after = folder / "checkpoint-12"  # half written, and still there when the run goes on from the one before
    after.mkdir()
    (folder / "checkpoint-10" / "sealed.json").write_text("[")
    broken = [after, folder / "checkpoint-11", folder / "checkpoint-10"]
    assert checkpoints.newest_intact(tmp_path) == (folder / "checkpoint-9", broken)
    made = checkpoints.staging_folder(folder) / "checkpoint-10"
    made.mkdir(parents=True)
    checkpoints.publish(folder, 10, 1)
    assert [path.name for path in folder.iterdir()] == ["checkpoint-10"]
    assert checkpoints.newest_intact(tmp_path) == (folder / "checkpoint-10", [])


def test_killed_after_the_last_step_it_does_none_more(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With epochs in halves an epoch is left, and with a learning rate that stays another step would show."""

    words = (
        "--set",
        "training.epochs=1.5",
        "--set",
        'training.scheduler="constant_with_warmup"',
        "--set",
        "data.train_contexts=4",
    )
    assert step("train", *words) == 0
    wanted, curve = manifest()["training"], losses()
    assert wanted["steps"] == len(curve) == 6
    os.rename("runs", "runs-whole")

    def dying(path: Path) -> Any:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(fsdp, "atomic_folder", dying)
        step("train", *words)
    assert step("train", "--resume", *words) == 0
    made = manifest()["training"]
    assert (made["steps"], made["tokens"]) == (6, wanted["tokens"])
    assert (
        made["seconds"] >= json.loads((latest() / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    )  # of all starts
    assert losses() == curve
    assert manifest()["training"]["adapter_sha256"] == wanted["adapter_sha256"]


class Killed(BaseException):
    """What nothing catches."""


def _killed_at(step_: int, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Train up to a step, and end there as if killed."""
    from pipeline.training.callbacks.metrics import MetricsCallback

    logged = MetricsCallback.on_log

    def dying(watch: MetricsCallback, args: Any, state: Any, *given: Any, **more: Any) -> None:
        if state.global_step == step_:
            raise Killed
        logged(watch, args, state, *given, **more)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(MetricsCallback, "on_log", dying)
        step("train", *words)


def test_a_resume_in_another_environment_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--set", "data.train_contexts=3")
    for name, value in (("LOCK", "aaaa"), ("REVISION", "first")):
        monkeypatch.setenv(f"PINTUNE_{name}", value)
    _killed_at(6, monkeypatch, *words)
    monkeypatch.setenv("PINTUNE_LOCK", "bbbb")
    assert step("train", "--resume", *words) == 1
    said = capsys.readouterr().err
    assert "lock_sha256: aaaa then, bbbb now" in said and "git checkout first" in said
    monkeypatch.setenv("PINTUNE_LOCK", "aaaa")
    monkeypatch.setattr(load, "precision", lambda recipe: ("bf16", "as if a GPU were there"))
    assert step("train", "--resume", *words) == 1
    assert "precision: fp32 on cpu then, bf16 on cpu now" in capsys.readouterr().err


def test_other_code_goes_on_and_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PINTUNE_REVISION", "first")
    _killed_at(6, monkeypatch)
    (run,) = Path("runs/tiny").glob("[0-9]*")
    assert step("reproduce", "--run", f"tiny/{run.name}") == 1
    assert "next: invoke train --resume" in capsys.readouterr().err
    monkeypatch.setenv("PINTUNE_REVISION", "second")
    assert step("train", "--resume") == 0
    assert "other code, so the adapter may differ: revision: first then, second now" in capsys.readouterr().out


def test_where_no_checkpoint_can_be_written_the_run_stays_to_be_gone_on_with(
    place: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_json", full)
        assert step("train") == 1
    assert "then invoke train --resume" in capsys.readouterr().err
    assert not saved()
    assert step("train", "--resume") == 0
    assert manifest()["training"]["adapter_sha256"] == whole["adapter"]


def test_told_to_stop_outside_its_steps_a_run_that_goes_on_ends_at_once(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(Paused, match="invoke train --resume"),
        contextlib.closing(PreemptionCallback(tmp_path, resumed=True)),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == before
    with contextlib.closing(PreemptionCallback(tmp_path, resumed=False)):
        assert signal.getsignal(signal.SIGTERM) == before  # nothing is saved yet


def test_scaled_losses_resume_with_their_scale(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FP16 as on a GPU, by autocast and a GradScaler on the CPU: a scale too high at first, which grows every third step."""
    import accelerate
    import torch

    begun = accelerate.Accelerator.__init__

    def scaled(accelerator: Any, *given: Any, **more: Any) -> None:
        begun(accelerator, *given, **more)
        accelerator.native_amp, accelerator.scaler = (
            True,
            torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=3),
        )

    monkeypatch.setattr(accelerate.Accelerator, "__init__", scaled)
    monkeypatch.setattr(load, "precision", lambda recipe: ("fp16", "as if a GPU were there"))
    words = ("--set", "training.epochs=8", "--set", "data.train_contexts=4")
    assert step("train", *words) == 0
    wanted, curve = manifest()["training"], (latest() / "metrics.jsonl").read_text()
    counts = [json.loads(line)["overflows"] for line in curve.splitlines()]
    assert 0 < counts[8] <= counts[-1] == wanted["overflows"] < 32
    os.rename("runs", "runs-whole")
    _killed_at(14, monkeypatch, *words)
    assert (saved()[-1] / "scaler.pt").exists()
    assert step("train", "--resume", *words) == 0
    made = manifest()["training"]
    assert (made["adapter_sha256"], made["overflows"]) == (wanted["adapter_sha256"], wanted["overflows"])
