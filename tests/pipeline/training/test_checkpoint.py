"""A run that is killed, preempted or out of disk space resumes to the same adapter, or says why it cannot."""

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
from pipeline.training import checkpoint, fsdp
from pipeline.training.callbacks.preemption import PreemptionCallback
from tests.steps import checkpoints, latest, losses, manifest, overrides, run_train, start_train, step, wait_until


@pytest.fixture
def uninterrupted(place: Path) -> dict[str, Any]:
    """Adapter and losses of the uninterrupted run."""
    assert step("train") == 0
    made = {"adapter": manifest()["training"]["adapter_sha256"], "losses": losses()}
    os.rename("runs", "runs-uninterrupted")
    return made


def test_a_run_killed_several_times_ends_with_the_same_adapter(place: Path, uninterrupted: dict[str, Any]) -> None:
    """SIGKILL at random moments, mostly while a checkpoint is written: there is one after every step."""
    chance, kills = random.Random(5), 0
    process = start_train()
    while kills < 3:
        known = len(checkpoints()) and int(checkpoints()[-1].name.rpartition("-")[2])
        wait_until(
            lambda known=known: any(int(path.name.rpartition("-")[2]) > known for path in checkpoints()), process
        )
        time.sleep(chance.uniform(0, 0.15))
        if process.poll() is not None:
            break  # the run ended before the signal
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        process = start_train("--resume")
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    assert kills >= 2
    assert manifest()["training"]["adapter_sha256"] == uninterrupted["adapter"]
    assert losses() == uninterrupted["losses"]
    assert not list(latest().rglob(".*"))


def test_a_preempted_run_saves_and_exits_with_status_75(
    place: Path, uninterrupted: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    process = start_train("--set", "training.checkpoint_steps=1000")  # only the signal causes a checkpoint
    wait_until(
        lambda: [path for path in Path("runs/tiny").glob("*/metrics.jsonl") if path.read_text().count("\n") >= 2],
        process,
    )
    assert step("train", "--resume") == 1
    assert "one that another process is training" in capsys.readouterr().err
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 75, out
    (kept,) = checkpoints()
    assert f"SIGTERM; step {kept.name.rpartition('-')[2]} is saved" in out
    assert "invoke train --resume" in out
    status, out = run_train("--resume", "--set", "training.checkpoint_steps=1000")
    assert status == 0, out
    assert "resuming from" in out
    assert manifest()["training"]["adapter_sha256"] == uninterrupted["adapter"]


def test_a_run_killed_after_writing_its_manifest_counts_as_finished(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train", "--set", "data.train_contexts=1") == 0
    run = latest()
    (run / "unfinished.json").write_text(json.dumps({"recipe": manifest(run)["recipe"], "inputs": {}}))
    Path("runs/tiny/latest").unlink()
    assert step("train", "--resume") == 1  # of another recipe
    assert "an unfinished run to resume" in capsys.readouterr().err
    assert step("train", "--resume", "--set", "data.train_contexts=1") == 0
    out = capsys.readouterr().out
    assert "had finished already" in out
    assert f"sha256 {manifest()['training']['adapter_sha256']}" in out
    assert latest() == run
    assert not (run / "unfinished.json").exists()


def test_no_run_folder_exists_without_unfinished_json(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.runs import store

    def dies(path: Path, value: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_json", dies)
    with pytest.raises(KeyboardInterrupt):
        store.create(Path("runs/tiny"), {}, {"inputs": {}})
    assert list(Path("runs/tiny").glob("*")) == []


def test_only_intact_checkpoints_count(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for number in (8, 9, 10, 11):
        made = checkpoint.staging_folder(folder) / f"checkpoint-{number}"
        made.mkdir(parents=True)
        (made / "adapter_model.safetensors").write_bytes(b"weights" * number)
        assert checkpoint.newest_intact(tmp_path)[0] == (folder / f"checkpoint-{number - 1}" if number > 8 else None)
        checkpoint.publish(folder, number, 3)
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint-10", "checkpoint-11", "checkpoint-9"]
    (folder / "checkpoint-11" / "adapter_model.safetensors").write_bytes(b"other")
    corrupt = folder / "checkpoint-12"  # corrupt, and present while the run resumes from an older one
    corrupt.mkdir()
    (folder / "checkpoint-10" / "sealed.json").write_text("[")
    broken = [corrupt, folder / "checkpoint-11", folder / "checkpoint-10"]
    assert checkpoint.newest_intact(tmp_path) == (folder / "checkpoint-9", broken)
    made = checkpoint.staging_folder(folder) / "checkpoint-10"
    made.mkdir(parents=True)
    checkpoint.publish(folder, 10, 1)
    assert [path.name for path in folder.iterdir()] == ["checkpoint-10"]
    assert checkpoint.newest_intact(tmp_path) == (folder / "checkpoint-10", [])


def test_a_run_killed_after_its_last_step_takes_no_further_step(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One and a half epochs and a constant learning rate: another step would change the adapter."""
    words = overrides("training.epochs=1.5", 'training.scheduler="constant_with_warmup"', "data.train_contexts=4")
    assert step("train", *words) == 0
    wanted, curve = manifest()["training"], losses()
    assert wanted["steps"] == len(curve) == 6
    os.rename("runs", "runs-uninterrupted")

    def dying(path: Path) -> Any:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(fsdp, "atomic_folder", dying)
        step("train", *words)
    assert step("train", "--resume", *words) == 0
    made = manifest()["training"]
    assert (made["steps"], made["tokens"]) == (6, wanted["tokens"])
    assert made["seconds"] >= json.loads((latest() / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    assert losses() == curve
    assert manifest()["training"]["adapter_sha256"] == wanted["adapter_sha256"]


class Killed(BaseException):
    """Passes every `except Exception`, as a kill would."""


def _killed_at(step_: int, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Train up to a step, and die there."""
    from pipeline.training.callbacks.metrics import MetricsCallback

    logged = MetricsCallback.on_log

    def dying(callback: MetricsCallback, args: Any, state: Any, *given: Any, **more: Any) -> None:
        if state.global_step == step_:
            raise Killed
        logged(callback, args, state, *given, **more)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(MetricsCallback, "on_log", dying)
        step("train", *words)


def test_a_resume_in_another_environment_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = overrides("data.train_contexts=3")
    for name, value in (("LOCK", "aaaa"), ("REVISION", "first")):
        monkeypatch.setenv(f"PINTUNE_{name}", value)
    _killed_at(6, monkeypatch, *words)
    monkeypatch.setenv("PINTUNE_LOCK", "bbbb")
    assert step("train", "--resume", *words) == 1
    message = capsys.readouterr().err
    assert "lock_sha256: aaaa then, bbbb now" in message and "git checkout first" in message
    monkeypatch.setenv("PINTUNE_LOCK", "aaaa")
    monkeypatch.setattr(load, "precision", lambda recipe: ("bf16", "as if a GPU were there"))
    assert step("train", "--resume", *words) == 1
    assert "precision: fp32 on cpu then, bf16 on cpu now" in capsys.readouterr().err


def test_a_resume_with_other_code_warns(
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


def test_a_run_that_cannot_write_a_checkpoint_stays_resumable(
    place: Path, uninterrupted: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_json", full)
        assert step("train") == 1
    assert "then invoke train --resume" in capsys.readouterr().err
    assert not checkpoints()
    assert step("train", "--resume") == 0
    assert manifest()["training"]["adapter_sha256"] == uninterrupted["adapter"]


def test_sigterm_between_steps_ends_a_resumed_run_at_once(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(Paused, match="invoke train --resume"),
        contextlib.closing(PreemptionCallback(tmp_path, resumed=True)),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert signal.getsignal(signal.SIGTERM) == before
    with contextlib.closing(PreemptionCallback(tmp_path, resumed=False)):
        assert signal.getsignal(signal.SIGTERM) == before  # a new run has nothing saved to keep


def test_a_resume_restores_the_loss_scale(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in fp16 on a GPU, with a GradScaler on the CPU that starts too high and grows every third step."""
    import accelerate
    import torch

    init = accelerate.Accelerator.__init__

    def scaled(accelerator: Any, *given: Any, **more: Any) -> None:
        init(accelerator, *given, **more)
        accelerator.native_amp, accelerator.scaler = (
            True,
            torch.amp.GradScaler("cpu", init_scale=2.0**40, growth_interval=3),
        )

    monkeypatch.setattr(accelerate.Accelerator, "__init__", scaled)
    monkeypatch.setattr(load, "precision", lambda recipe: ("fp16", "as if a GPU were there"))
    words = overrides("training.epochs=8", "data.train_contexts=4")
    assert step("train", *words) == 0
    wanted, curve = manifest()["training"], (latest() / "metrics.jsonl").read_text()
    counts = [json.loads(line)["overflows"] for line in curve.splitlines()]
    assert 0 < counts[8] <= counts[-1] == wanted["overflows"] < 32
    os.rename("runs", "runs-uninterrupted")
    _killed_at(14, monkeypatch, *words)
    assert (checkpoints()[-1] / "scaler.pt").exists()
    assert step("train", "--resume", *words) == 0
    made = manifest()["training"]
    assert (made["adapter_sha256"], made["overflows"]) == (wanted["adapter_sha256"], wanted["overflows"])
