"""`invoke serve --check` through a real engine and without one: as evaluated, and with other weights."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.marks import Invoke
from tests.steps import RECIPE

pytestmark = pytest.mark.docker

CHANGE = """
import sys
from safetensors.torch import load_file, save_file
weights = load_file(sys.argv[1])
weights |= {name: each * 1.5 for name, each in weights.items() if "o_proj" in name}
save_file(weights, sys.argv[1], {"format": "pt"})
"""


@pytest.fixture(scope="module")
def recipe(checkout: Path, tiny_model: Path) -> str:
    """A recipe of the tiny model."""
    shutil.copytree(tiny_model, checkout / "models" / "tiny")
    (checkout / "tiny.toml").write_text(RECIPE.replace("max_new_tokens = 4", "max_new_tokens = 24"), encoding="utf-8")
    return "tiny.toml"


def _done(invoke: Invoke, *words: str) -> str:
    done = invoke(*words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("runner", ["docker", "venv"])
def test_a_server_is_compared_with_the_evaluation(
    runner: str, recipe: str, engine_there: None, invoke: Invoke, checkout: Path, tmp_path: Path
) -> None:
    of = ("--recipe", recipe, "--flavor", "cpu", "--runner", runner)
    check = ("serve", "--check", *of, "--port", "18900")
    _done(invoke, "build", "--image", "serve", *of[2:])
    _done(invoke, "build", *of[2:])
    _done(invoke, "train", *of, "export")
    lacking = invoke(*check)
    assert lacking.returncode == 1 and "next: invoke evaluate" in lacking.stderr and "ready after" not in lacking.stdout
    _done(invoke, "evaluate", *of)
    printed = _done(invoke, *check)
    assert "ready after" in printed and "12 of 12 questions answered" in printed
    assert "EM served - evaluated: +0.0, +0.0 to +0.0 (95 % interval over 2 contexts)" in printed
    assert "nothing runs" in invoke("down").stdout and not list((checkout / ".pintune").glob("check-*"))
    file = (checkout / "runs" / "tiny" / "latest" / "merged" / "model.safetensors").resolve()
    shutil.copy2(file, tmp_path / "kept")
    try:
        subprocess.run([sys.executable, "-c", CHANGE, str(file)], check=True)
        file.chmod(0o644)
        _done(invoke, "serve", *of, "--port", "18900")
        tampered = invoke(*check)
        assert tampered.returncode == 1 and "wanted: the files that export wrote" in tampered.stderr
        shutil.copy2(tmp_path / "kept", file)
        drifted = invoke(*check)  # the server still has the other weights
        assert drifted.returncode == 1, drifted.stdout
        assert "  served:    " in drifted.stdout and "ready after" not in drifted.stdout
        assert "wanted: a server that answers as evaluate did" in drifted.stderr
    finally:
        assert "stopped serve" in invoke("down").stdout  # it was up before the checks
