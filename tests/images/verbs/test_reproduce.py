"""`invoke reproduce` up to the pipeline, which tests/pipeline/test_reproduce.py tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from images import matrix
from images.building import lock
from images.errors import Stop
from images.running.choices import Choices
from images.verbs import reproduce
from tests.marks import Invoke

RUN = "quickstart/20260101-000000-abc"


def _manifest(root: Path, **environment: Any) -> None:
    folder = root / "runs" / RUN
    folder.mkdir(parents=True)
    made = {
        "recipe": {"data": {"source": "sample"}},
        "environment": {"runner": "venv", "flavor": "cpu", **environment},
        "training": {"processes": 2},
        "outputs": {},
    }
    (folder / "manifest.json").write_text(json.dumps(made))


def test_the_commands_repeat_the_run_as_it_was_made(call: Invoke, bare: Path) -> None:
    _manifest(bare, lock_sha256=lock.sha256(matrix.lock_file("train", "cpu")), revision="f" * 40, dirty=True)
    done = call("--dry", "reproduce", f"./runs/{RUN}/")
    assert done.returncode == 0, done.stderr
    assert "runner venv (asked for), flavor cpu" in done.stdout
    assert "made by revision ffffffffffff" in done.stdout
    assert "made by code that was not committed" in done.stdout
    commands = [line.split("-m pipeline ")[1] for line in done.stdout.splitlines() if "-m pipeline" in line]
    assert commands == [
        f"fetch --recipe quickstart --run {RUN}",
        f"format --recipe quickstart --run {RUN}",
        f"reproduce --recipe quickstart --run {RUN} --processes 2",
    ]


def test_an_adapter_of_another_trainer_is_not_reproduced(call: Invoke, bare: Path) -> None:
    _manifest(bare)
    file = bare / "runs" / RUN / "manifest.json"
    made = json.loads(file.read_text())
    file.write_text(json.dumps({**made, "training": {"unknown": ["data", "seeds"]}}))
    done = call("--dry", "reproduce", RUN)
    assert done.returncode == 1 and "unknown are data, seeds" in done.stderr, done.stderr


def test_another_lock_is_refused(call: Invoke, bare: Path) -> None:
    _manifest(bare, lock_sha256="0" * 64, revision="f" * 40)
    done = call("--dry", "reproduce", RUN)
    assert (done.returncode, "next: git checkout ffffffffffff, then again" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("text", [None, "{", "[]", '{"environment": {}}'])
def test_an_unfinished_run_is_refused(tmp_path: Path, text: str | None) -> None:
    if text:
        (tmp_path / "runs" / RUN).mkdir(parents=True)
        (tmp_path / "runs" / RUN / "manifest.json").write_text(text)
    with pytest.raises(Stop, match="invoke runs lists them"):
        reproduce.reproduce(Choices("quickstart", "cpu", "venv", dry=True), RUN, tmp_path)


def test_a_runs_recipe_cannot_be_changed(tmp_path: Path) -> None:
    _manifest(tmp_path)
    with pytest.raises(Stop, match="leave out --set"):
        reproduce.reproduce(Choices("quickstart", "cpu", "venv", ("lora.r=8",), dry=True), RUN, tmp_path)
