"""The virtual environment of the runner venv."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from images import engine, pip_config
from images.errors import Stop
from images.running import (
    venv,
)


def test_the_commands() -> None:
    make, install = venv.argv("train", "cpu")
    assert re.fullmatch(
        r"uv venv --quiet --python-preference system --python 3\.11 \S+/\.pintune/venv/train-cpu-[0-9a-f]{12}",
        engine.shown(make),
    )
    assert re.fullmatch(
        r"uv pip install --python \S+/bin/python --require-hashes --no-deps --only-binary :all: --compile-bytecode"
        r" -r images/locks/train-cpu\.txt",
        engine.shown(install),
    )


class Usage(NamedTuple):
    free: int


def test_no_environment_is_made_on_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(venv, "folder", lambda image, flavor: tmp_path / "venv" / "train")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**30))
    with pytest.raises(Stop, match=r"4 GiB free\n found: 1\.0 GiB"):
        venv.build("train", "cpu", dry=False)
    assert not list(tmp_path.iterdir())


def test_an_environment_is_ready_once_it_is_sealed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = tmp_path / "venv"
    monkeypatch.setattr(venv, "folder", lambda image, flavor: target)
    (target / "bin").mkdir(parents=True)
    (target / "bin" / "python").touch()
    assert not venv.ready("train", "cpu")  # an interrupted build
    (target / "pintune-lock").touch()
    assert venv.ready("train", "cpu")
    assert not venv.ready("train", "cu99")


@pytest.mark.parametrize(
    ("python", "cache", "todo"), [("3.11", "/dev/null/x", "correct what uv names"), ("3.99", "", "install Python")]
)
def test_a_missing_python_is_told_from_other_faults_of_uv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: str, cache: str, todo: str
) -> None:
    environment = {**os.environ, "UV_OFFLINE": "1", **({"UV_CACHE_DIR": cache} if cache else {})}
    command = [pip_config.uv(), "venv", "--python", python, str(tmp_path / "venv")]
    with pytest.raises(Stop) as stopped:
        venv._create(command, environment, python)
    assert todo in stopped.value.todo
