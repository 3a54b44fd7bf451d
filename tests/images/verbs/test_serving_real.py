"""`invoke serve --check` through a real engine and without one: as evaluated, and with other weights."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.marks import Invoke

pytestmark = pytest.mark.docker

CHANGE = """
import hashlib, json, pathlib, sys
file = pathlib.Path(sys.argv[1])
if file.name == "manifest.json":  # one whose export wrote the merged weights that lie there
    made = json.loads(file.read_text(encoding="utf-8"))
    weights = file.parent / "merged" / "model.safetensors"
    made["outputs"]["merged/model.safetensors"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    file.write_text(json.dumps(made), encoding="utf-8")
else:
    from safetensors.torch import load_file, save_file
    weights = load_file(file)
    weights |= {key: each * 1.5 for key, each in weights.items() if "o_proj" in key}
    save_file(weights, file, {"format": "pt"})
"""


@pytest.fixture(scope="module")
def recipe(checkout: Path, tiny_model: Path) -> str:
    """A recipe of the tiny model."""
    from tests.steps import RECIPE  # needs what the host side's own environment lacks

    shutil.copytree(tiny_model, checkout / "models" / "tiny", dirs_exist_ok=True)  # other tests of this checkout too
    (checkout / "served.toml").write_text(RECIPE.replace("max_new_tokens = 4", "max_new_tokens = 24"), encoding="utf-8")
    return "served.toml"


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
    run = (checkout / "runs" / "served" / "latest").resolve()
    weights = run / "merged" / "model.safetensors"
    with changed(weights, tmp_path):
        refused = invoke("serve", *of, "--port", "18900")
        assert refused.returncode == 1 and "the merged model that export wrote" in refused.stdout + refused.stderr
        with changed(run / "manifest.json", tmp_path):
            _done(invoke, "serve", *of, "--port", "18900")
    try:
        with changed(weights, tmp_path):
            tampered = invoke(*check)
            assert tampered.returncode == 1 and "wanted: the files that export wrote" in tampered.stderr
        drifted = invoke(*check)  # the server still has the other weights
        assert drifted.returncode == 1, drifted.stdout
        assert "  served:    " in drifted.stdout and "ready after" not in drifted.stdout
        assert "wanted: a server that answers as evaluate did" in drifted.stderr
    finally:
        assert "stopped serve" in invoke("down").stdout  # it was up before the checks


@contextlib.contextmanager
def changed(file: Path, folder: Path) -> Iterator[None]:
    """Other weights, or a manifest that has them, during the block."""
    shutil.copy2(file, folder / file.name)
    try:
        subprocess.run([sys.executable, "-c", CHANGE, str(file)], check=True)
        file.chmod(0o644)
        yield
    finally:
        shutil.copy2(folder / file.name, file)
