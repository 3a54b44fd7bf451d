"""`invoke data --runner here` outside an image, in a Python without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.steps import RECIPE

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None"  # as if it were not installed


def test_data_is_prepared_in_a_python_without_torch(bare: Path, tiny_model: Path, tmp_path: Path) -> None:
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
