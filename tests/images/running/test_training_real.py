"""Training with a real engine: stopped from outside, on a full disk, and in two containers on an internal network."""

from __future__ import annotations

import concurrent.futures
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from images import engine
from images.running import container
from images.verbs import runs
from tests.marks import Invoke

pytestmark = pytest.mark.docker

TINY = (
    "--recipe",
    "tiny.toml",
    "--set",
    "training.batch_contexts=2",
    "--set",
    "training.epochs=10",
    "--set",
    "training.checkpoint_steps=1",
)


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=600).stdout


def _until(condition: Callable[[], object], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _latest(checkout: Path) -> Path:
    return (checkout / "runs" / "tiny" / "latest").resolve()


def _losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def _training(run: Path) -> dict[str, Any]:
    made: dict[str, Any] = json.loads((run / "manifest.json").read_text())["training"]
    return made


def _unfinished(checkout: Path) -> Path:
    (run,) = (path.parent for path in checkout.glob("runs/tiny/*/unfinished.json"))
    return run


@pytest.fixture(scope="module")
def alone(image: str, invoke: Invoke, checkout: Path, tiny_model: Path) -> Path:
    """The uninterrupted run of one process, with a tiny model."""
    from tests.steps import RECIPE

    shutil.copytree(tiny_model, checkout / "models" / "tiny", dirs_exist_ok=True)
    (checkout / "tiny.toml").write_text(RECIPE)
    # rebuilt from cache: another test may have pulled an image of that name
    done = invoke("build", "--runner", "docker", "train", *TINY)
    assert done.returncode == 0, done.stderr
    return _latest(checkout)


def _start(checkout: Path, *words: str) -> subprocess.Popen[str]:
    """A verb that runs while the test goes on."""
    known = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("PINTUNE_") or key in ("PINTUNE_MIRROR", "PINTUNE_BASE_IMAGE")
    }
    return subprocess.Popen(
        [sys.executable, "-m", "invoke", *words],
        cwd=checkout,
        env=known,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_sigterm_makes_train_save_and_exit_with_75(alone: Path, invoke: Invoke, checkout: Path) -> None:
    words = ("train", "--runner", "docker", *TINY)
    verb = _start(checkout, *words)
    _until(lambda: list(checkout.glob("runs/tiny/*/unfinished.json")))
    _until(lambda: (_unfinished(checkout) / "checkpoints" / "checkpoint-1").exists())
    assert "training now (container " in runs.table(checkout)
    verb.send_signal(signal.SIGTERM)
    out, _ = verb.communicate(timeout=120)
    assert verb.returncode == 75, out
    assert "SIGTERM; step" in out
    assert "invoke train --resume" in out
    done = invoke(*words, "--resume")
    assert done.returncode == 0, done.stderr
    assert _training(_latest(checkout))["adapter_sha256"] == _training(alone)["adapter_sha256"]


@pytest.mark.parametrize("runner", ["docker", "venv"])
def test_a_training_saves_and_ends_when_its_verb_is_killed(
    alone: Path, invoke: Invoke, checkout: Path, runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke("build", "--runner", runner).returncode == 0
    words = ("train", "--runner", runner, *TINY)
    verb = _start(checkout, *words, "--set", "training.epochs=1000")
    _until(lambda: list(checkout.glob("runs/tiny/*/unfinished.json")))
    run = _unfinished(checkout)
    _until(lambda: (run / "checkpoints" / "checkpoint-1").exists())
    verb.kill()
    verb.communicate()
    assert _until_unlocked(run) < 1000
    assert not (run / "manifest.json").exists()
    own: dict[str, Any] = {"label": container.LABEL, "volume": str(checkout / "runs")}
    left = engine.client().containers.list(all=True, filters=own)
    assert [each.wait()["StatusCode"] for each in left] == ([75] if runner == "docker" else [])
    monkeypatch.setattr(container, "_REMOVED_AFTER", 3)
    time.sleep(4)
    container._remove_ended()  # as the next step does
    assert not engine.client().containers.list(all=True, filters=own)
    shutil.rmtree(run)


def _until_unlocked(run: Path) -> int:
    """Wait until no process trains in a run's folder; returns the step of its newest checkpoint."""
    with (run / "unfinished.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
    return max(int(path.name.rpartition("-")[2]) for path in run.glob("checkpoints/checkpoint-*"))


def test_two_containers_train_as_one_does_and_end_together(
    alone: Path, image: str, invoke: Invoke, checkout: Path
) -> None:
    words = ("train", "--runner", "docker", *TINY, "--nodes", "2", "--gpus-per-node", "1")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        dying = pool.submit(invoke, *words)
        _until(lambda: list(checkout.glob("runs/tiny/*/unfinished.json")))
        run = _unfinished(checkout)
        _until(lambda: (run / "checkpoints" / "checkpoint-1").exists())
        nodes = engine.client().containers.list(filters={"ancestor": image})
        network = nodes[0].attrs["HostConfig"]["NetworkMode"]
        made = json.loads(_docker("network", "inspect", network))[0]
        assert made["Internal"] and len(made["Containers"]) == 2
        out = "import socket; s = socket.socket(); s.settimeout(3); s.connect(('192.0.2.1', 80))"
        assert nodes[0].exec_run(["python", "-c", out]).exit_code != 0
        (second,) = (node for node in nodes if str(node.name).endswith("-1"))
        second.kill("SIGKILL")
        done = dying.result()
    assert done.returncode == 1
    assert "wanted: all 2 ranks until the end of the run" in done.stderr
    assert "another one ended" in done.stderr
    assert "killed by signal 9" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not _docker("network", "ls", "--quiet", "--filter", f"name={network}")
    again = invoke(*words, "--resume")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "checkpoints/checkpoint-" in again.stdout
    assert _latest(checkout) == run
    assert _training(run)["processes"] == 2
    assert _losses(run) == pytest.approx(_losses(alone), rel=1e-4)


def test_a_sweep_trains_new_points_only_and_a_run_is_reproduced(alone: Path, invoke: Invoke, checkout: Path) -> None:
    words = (
        "sweep",
        "--runner",
        "docker",
        "--recipe",
        "tiny.toml",
        "--set",
        "training.epochs=1",
        "--set",
        "data.evaluation_contexts=1",
    )
    first = invoke(*words, "--set", "lora.r=2,4")
    assert first.returncode == 0, first.stdout + first.stderr
    before = sorted(checkout.glob("runs/tiny/*/manifest.json"))
    second = invoke(*words, "--set", "lora.r=2,4,8")
    assert second.returncode == 0, second.stdout + second.stderr
    assert len(sorted(checkout.glob("runs/tiny/*/manifest.json"))) == len(before) + 1
    assert {line.split()[1] for line in second.stdout.splitlines() if re.match("[123] ", line)} == {"2", "4", "8"}
    assert re.search(r"tiny/\S+ .* lora.r=8", invoke("runs").stdout)
    name = f"tiny/{_latest(checkout).name}"
    again = invoke("reproduce", name)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "environment: the same" in again.stdout
    assert re.search(r"adapter/adapter_model.safetensors +same", again.stdout)


def test_a_full_disk_keeps_the_last_intact_checkpoint(image: str, alone: Path, checkout: Path) -> None:
    """runs/ is a tmpfs that fills up during training; the checkpoints are inspected in the same container."""
    mounts = tuple(container.Mount(checkout / name, f"/pintune/{name}") for name in ("data", "models", "tiny.toml"))
    uid, gid = container.user()
    wait = "until ls -d runs/tiny/*/checkpoints/checkpoint-2; do sleep 0.02; done >/dev/null 2>&1"
    fill = f"{wait}; cat /dev/zero >runs/other"
    train = f"python -m pipeline train {' '.join(TINY)} --set training.checkpoints_kept=99"
    script = f"({fill}) & {train}; echo status $?; rm runs/other; {train} --resume; echo status $?"
    command = container.argv(container.Container(image, ("sh", "-c", script), mounts, {}, uid, gid))
    at = command.index(image)
    command[at:at] = ["--tmpfs", f"/pintune/runs:size=600m,uid={uid},gid={gid}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert re.findall("status .", done.stdout) == ["status 1", "status 0"], done.stdout + done.stderr
    assert "No space left" in done.stderr or "MiB free" in done.stderr
    assert "then invoke train --resume" in done.stderr
    assert "Traceback" not in done.stderr
    resumed = done.stdout.partition("status 1")[2]
    (step,) = re.findall(r"checkpoints/checkpoint-(\d+)", resumed)  # a corrupt checkpoint would be reported too
    assert int(step) >= 2
    assert _training(alone)["adapter_sha256"] in done.stdout
