"""The runner `here` outside an image: the packages that prepare data, and a Python without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from images.building import lock
from images.errors import Stop
from images.running import here

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None"  # as if it were not installed


def test_other_versions_are_named_and_a_missing_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = lock.row("train", "cpu")
    versions = {pin.name: pin.version for pin in lock.read(row)}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    here.need_packages(row)
    assert capsys.readouterr().out == ""
    older = versions | {"transformers": "5.0.0"}
    monkeypatch.setattr(metadata, "version", older.__getitem__)
    here.need_packages(row)
    assert f"transformers 5.0.0, locked {versions['transformers']}" in capsys.readouterr().out

    def lacks(name: str) -> str:
        if name == "pydantic":
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", lacks)
    with pytest.raises(Stop, match=f"no pydantic(.|\n)*'pydantic=={versions['pydantic']}'"):
        here.need_packages(row)


def test_data_is_prepared_in_a_python_without_torch(bare: Path, tiny_model: Path, tmp_path: Path) -> None:
    from tests.steps import RECIPE  # needs what the host side's own environment lacks

    shutil.copytree(tiny_model, bare / "models" / "tiny")
    (bare / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "sitecustomize.py").write_text(WITHOUT_TORCH, encoding="utf-8")
    known = {name: value for name, value in os.environ.items() if not name.startswith("PINTUNE_")}
    known["PYTHONPATH"] = str(tmp_path / "settings")

    def called(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "invoke", *words, "--runner", "here", "--flavor", "cpu"]
        return subprocess.run(command, cwd=bare, env=known, capture_output=True, text=True)

    done = called("data", "--recipe", "tiny.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "runner here (asked for)" in done.stdout
    (report,) = bare.glob("data/sample/*/report.json")
    assert json.loads(report.read_text(encoding="utf-8"))
    fetched = called("data")  # the embedded model is converted by torch
    assert fetched.returncode == 1 and "found: no torch" in fetched.stderr, fetched.stderr
    assert "next: invoke fetch --runner venv" in fetched.stderr and not list(bare.glob("models/.[!t]*"))
    trained = called("train", "--recipe", "tiny.toml")
    assert trained.returncode == 1 and "to be inside a Pintune image" in trained.stderr
