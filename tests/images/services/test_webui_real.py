"""LLaMA Board in its image, in a browser: from the page to an adapter that is exported by us and answers. Slow."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium
from tests.conftest import ROOT, lacking
from tests.marks import Invoke

pytestmark = [pytest.mark.docker, pytest.mark.slow]

NODE = ROOT / "tests" / "node"
RUNNER = {"PINTUNE_RUNNER": "docker", "PINTUNE_FLAVOR": "cpu"}
SMALL = ("--set", "data.train_contexts=2")  # two steps
_PARSE = """
import dataclasses, json, sys
from llamafactory.hparams import get_train_args
from llamafactory.hparams.parser import _TRAIN_ARGS
sys.argv = ["train", "/pintune/train.yaml"]
model, data, training, tuning, _ = get_train_args()
defaults = {each.name: each.default for of in _TRAIN_ARGS for each in dataclasses.fields(of)}
made = {name: getattr(of, name) for of in (model, data, training, tuning) for name in vars(of)}
print(json.dumps([made, defaults], default=str))
"""


@pytest.fixture(scope="module")
def images(engine_there: None, invoke: Invoke) -> None:
    for image in ("train", "webui"):
        done = invoke("build", "--image", image, **RUNNER)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _drive(url: str, folder: Path, *name: str) -> dict[str, Any]:
    """What the browser saw."""
    if not (NODE / "node_modules" / "playwright-core").is_dir():
        lacking("playwright-core: npm ci --prefix tests/node")
    words = ["node", "llama_board.mjs", url, chromium(), "quickstart", str(folder), *name]
    done = subprocess.run(words, cwd=NODE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_what_is_trained_on_the_page_is_exported_and_answers(
    images: None, invoke: Invoke, checkout: Path, tmp_path: Path
) -> None:
    """Screenshots go to the folder that PINTUNE_SCREENSHOTS names."""
    shots = Path(os.environ.get("PINTUNE_SCREENSHOTS") or tmp_path)
    started = invoke("webui", *SMALL, **RUNNER)
    assert started.returncode == 0, started.stdout[-2000:] + started.stderr[-2000:]
    link = next(line.split()[1].rstrip(":") for line in started.stdout.splitlines() if "LLaMA Board" in line)
    try:
        assert "it runs already" in invoke("webui", *SMALL, **RUNNER).stdout
        seen = _drive(link, shots, "browser")
    finally:
        assert "stopped webui" in invoke("down").stdout
    assert seen["status"] == 200 and seen["errors"] == []
    assert (seen["model"], seen["template"]) == ("SmolLM2-135M-Instruct", "smollm2")
    assert (seen["path"], seen["learningRate"]) == ("models/smollm2-135m-instruct", "0.0013")
    assert "--dataset pintune " in seen["command"] and "trust_remote_code" not in seen["command"]
    assert min(seen["curve"]) > 100  # pixels
    adapter = "runs/llama-board/saves/SmolLM2-135M-Instruct/lora/browser"
    exported = invoke("export", "--adapter", adapter, "ask", **RUNNER)
    assert exported.returncode == 0, exported.stdout[-2000:] + exported.stderr[-2000:]
    assert "trained by another trainer" in exported.stdout and "Answer:" in exported.stdout
    assert "names" not in exported.stdout  # no other base model
    read = invoke("llamafactory", "--from", f"{adapter}/training_args.yaml", **RUNNER)
    assert read.returncode == 0 and "learning_rate = 0.0013" in read.stdout, read.stderr


def test_llama_factory_reads_the_yaml_of_every_recipe(images: None, invoke: Invoke, tmp_path: Path) -> None:
    """By its own parser; and the defaults that we take for arguments that are left out are its own."""
    from pipeline.llama_factory.recipes import _DEFAULTS

    tmp_path.chmod(0o755)
    for recipe in ("quickstart", "phi-4-mini-reasoning", "mistral-7b-instruct"):
        made = invoke("llamafactory", "--recipe", recipe, **RUNNER)
        assert made.returncode == 0, made.stderr
        (tmp_path / "train.yaml").write_text(made.stdout.replace("fp16: true", "fp16: false"), encoding="utf-8")
        mount = f"type=bind,source={tmp_path},target=/pintune/yaml,readonly"
        words = ["docker", "run", "--rm", "--network", "none", "--mount", mount, "pintune/webui:cpu", "python", "-c"]
        code = _PARSE.replace("/pintune/train.yaml", "/pintune/yaml/train.yaml")
        done = subprocess.run([*words, code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        read, defaults = json.loads(done.stdout.splitlines()[-1])
        assert read["cutoff_len"] and read["do_train"] is True and read["dataset"]
        assert {key: str(defaults[key]) for key in _DEFAULTS} == {key: str(value) for key, value in _DEFAULTS.items()}


def test_a_recipe_is_trained_by_llama_factory(images: None, invoke: Invoke, checkout: Path) -> None:
    done = invoke("llamafactory", "--run", "--set", "data.train_contexts=1", **RUNNER)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    results = checkout / "runs" / "llama-factory" / "quickstart"
    assert {"train.yaml", "adapter_model.safetensors", "trainer_log.jsonl"} <= {file.name for file in results.iterdir()}
    assert f"next: invoke export --adapter {results.relative_to(checkout)}" in done.stdout
