"""The export of a run: what it writes and prints, and that a fault leaves the adapter and an earlier merged/ whole."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adapters import edit
from tests.conftest import ROOT
from tests.steps import latest, manifest, step

SMALL = ("--set", "data.train_contexts=2")


def _checked(folder: Path) -> str:
    """What sha256sum says of a folder."""
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    return done.stdout + done.stderr


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_a_merged_folder_is_whole_and_says_where_its_files_lie(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", *SMALL) == step("export") == 0
    run = latest()
    merged, base = run / "merged", place / "models" / "tiny"
    sums = (merged / "SHA256SUMS").read_text().splitlines()
    names = sorted(file.name for file in merged.iterdir() if file.name != "SHA256SUMS")
    assert [line.partition("  ")[2] for line in sums] == names and _checked(merged) == ""
    assert {"README.md", "config.json", "generation_config.json", "manifest.json", "model.safetensors"} <= set(names)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()
    assert json.loads((merged / "config.json").read_text())["dtype"] == "float16"
    assert manifest()["outputs"]["merged/SHA256SUMS"]
    checked = manifest()["export"]
    assert checked["targets"] == 14 and checked["prompts"] == 4 and checked["computed_in"] == "float32"
    printed = capsys.readouterr().out
    for line in (
        "merged: float16, logits within 0.",
        "asked from disk: ",
        "model.safetensors: 0 MiB",
        "README.md: the",
    ):
        assert line in printed
    (merged / "config.json").write_text("{}")
    assert "config.json: FAILED" in _checked(merged)


def test_a_failed_check_keeps_the_adapter_and_the_previous_merged_model(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.export import gate

    assert step("train", *SMALL) == step("export") == 0
    before = _files(latest())
    monkeypatch.setitem(gate.TOLERANCE, "bfloat16", 0.0)
    assert step("export", "--set", "export.dtype=bfloat16") == 1
    assert "of base + adapter" in capsys.readouterr().err
    assert _files(latest()) == before


def test_a_full_disk_half_way_keeps_the_previous_merged_model(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.export import merge

    assert step("train", *SMALL) == step("export") == 0
    before = _files(latest())
    parts = merge._merged
    written: list[int] = []

    def until_full(*positional: Any) -> Iterator[Any]:
        for part in parts(*positional):
            written.append(part.nbytes)
            if sum(written) > 50_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            yield part

    monkeypatch.setattr(merge, "_merged", until_full)
    assert step("export") == 1
    assert len(written) > 5
    said = capsys.readouterr().err
    assert "wanted: disk space" in said and "then invoke export" in said
    assert _files(latest()) == before and not list(latest().glob(".*"))


def test_too_little_disk_is_reported_before_the_merge(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil
    from types import SimpleNamespace

    from pipeline.export import merge

    assert step("train", *SMALL) == 0
    monkeypatch.setattr(merge, "merge", None)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    assert step("export") == 1
    assert "MiB free" in capsys.readouterr().err


def test_a_folder_that_is_not_writable_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train", *SMALL) == 0
    run, mkdir = latest(), Path.mkdir

    def refused(self: Path, *positional: Any, **options: Any) -> None:
        if self.parent.resolve() == run and ".staging-" in self.name:  # what a read-only mount says, also to root
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        mkdir(self, *positional, **options)

    before = _files(run)
    monkeypatch.setattr(Path, "mkdir", refused)
    assert step("export") == 1
    said = capsys.readouterr().err
    assert "that this user may write" in said and f"{run.name}/.merged.staging-" in said
    assert _files(run) == before


def test_an_adapter_is_not_merged_into_a_model_that_has_it(place: Path) -> None:
    from pipeline.errors import Stop
    from pipeline.export import adapter

    assert step("train", *SMALL) == step("export") == 0
    run = latest()
    with pytest.raises(Stop, match="one that it is merged into already") as stopped:
        adapter.read(run / "merged", run / "adapter")
    assert stopped.value.where == str(run / "merged")


def test_a_changed_adapter_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", *SMALL) == 0
    file = latest() / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    assert step("export") == 1
    assert "the adapter that was trained, sha256" in capsys.readouterr().err


def test_a_base_without_stop_tokens_gets_those_of_training(place: Path) -> None:
    base = place / "models" / "tiny"
    (base / "generation_config.json").unlink()
    edit(base / "config.json", eos_token_id=None)
    assert step("format") == step("train", *SMALL) == step("export") == 0
    assert json.loads((latest() / "merged" / "generation_config.json").read_text())["eos_token_id"] == [1]


# Imports once and forks 20 children, each of which exports until it is killed; torch runs in children alone.
_KILLED = """
import os, random, signal, subprocess, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import transformers, peft
from transformers.models import llama
from transformers import LlamaForCausalLM
import pipeline.export.run, pipeline.evaluation.evaluate, pipeline.data.check
from pipeline.__main__ import main

def child(number):
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        dtype = ("float16", "bfloat16", "float32")[number % 3]
        os._exit(main(["export", "--recipe", "tiny.toml", "--set", f"export.dtype={dtype}"]))
    return pid

run = Path("runs/tiny/latest").resolve()
draw, killed, seen = random.Random(7), 0, set()
started = time.monotonic()
assert os.waitpid(child(0), 0)[1] == 0
whole = time.monotonic() - started
for number in range(1, 21):
    pid = child(number)
    time.sleep(draw.uniform(0, whole))
    os.kill(pid, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    if (run / "merged").exists():
        done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=run / "merged", capture_output=True)
        assert done.returncode == 0, (number, done.stdout, done.stderr)
        seen.add((run / "merged" / "model.safetensors").stat().st_size)
assert os.waitpid(child(21), 0)[1] == 0
assert not list(run.glob(".*")), list(run.glob(".*"))
print("killed", killed, "sizes", len(seen))
"""


def test_a_kill_at_any_moment_leaves_no_half_of_a_merged_model(place: Path) -> None:
    assert step("train", *SMALL) == 0
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", _KILLED], env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    killed = int(done.stdout.split()[1])
    assert killed >= 10, done.stdout
