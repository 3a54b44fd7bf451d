"""The steps of pipeline/steps.toml, as the host reads them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from images.errors import Stop
from images.running import (
    steps,
)


def test_only_what_fetches_and_pushes_has_a_network() -> None:
    assert [name for name, step in steps.load().steps.items() if step.network] == [
        "fetch",
        "fetch_gguf",
        "push_hub",
    ]
    assert steps.get("push_hub").writes == ()
    assert [name for name, step in steps.load().steps.items() if step.gpu] == [
        "train",
        "evaluate",
        "export",
        "ask",
        "serve",
        "check_answers",
        "mcp",
        "reproduce",
    ]
    assert steps.get("train").writes == steps.get("export").writes == ("runs",)


def test_exit_statuses_follow_their_conventions() -> None:
    status = steps.exit_status()
    assert (status.done, status.paused, status.interrupted) == (0, os.EX_TEMPFAIL, 128 + signal.SIGINT)


GOOD = """
[exit_status]
done = 0
stopped = 1
usage = 2
paused = 75
interrupted = 130
broken_pipe = 141
[steps.train]
writes = ["runs"]
gpu = true
verb = "again"
"""


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("paused = 75", 'paused = "75"', "not an integer"),
        ("paused = 75", "", "paused"),
        ("gpu = true", "gpus = true", "gpus"),
        ("gpu = true", "gpu = 1", "steps.train.gpu: not a boolean"),
        ('verb = "again"', "verb = true", "steps.train.verb: not a string"),
        ('writes = ["runs"]', "", "'writes'"),
        ('writes = ["runs"]', "writes = [1]", "steps.train.writes: not a list of strings"),
        ("[steps.train]", "[steps.train", "TOMLDecodeError"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, old: str, new: str, found: str) -> None:
    path = tmp_path / "steps.toml"
    path.write_text(GOOD)
    assert steps.load(path).steps["train"] == steps.Step("train", ("runs",), gpu=True, verb="again")
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(Stop) as stopped:
        steps.load(path)
    assert found in stopped.value.found
    assert stopped.value.todo == "git checkout steps.toml"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="No such file"):
        steps.load(tmp_path / "steps.toml")
