"""The verbs through a real engine, and the same through a virtual environment."""

from __future__ import annotations

import concurrent.futures
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from images import engine
from tests.conftest import ROOT
from tests.marks import QUICKSTART_ADAPTER, SMALL, Invoke
from tests.terminal import CTRL_C, CTRL_D, terminal

pytestmark = pytest.mark.docker


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=600)


def _manifest(checkout: Path, recipe: str = "quickstart") -> dict[str, Any]:
    read: dict[str, Any] = json.loads((checkout / "runs" / recipe / "latest" / "manifest.json").read_text())
    return read


def test_both_runners_train_the_same_adapter(image: str, invoke: Invoke, checkout: Path) -> None:
    hashes = []
    for runner in ("docker", "venv"):
        threads = {"OMP_NUM_THREADS": "1"} if runner == "venv" else {}  # how many there are must not matter either
        words = ("train", *SMALL, "evaluate", "export", "--format", "gguf", "ask")
        done = invoke("build", "--runner", runner, *words, **threads)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert re.search(r"EM base +tuned", done.stdout)
        assert "Answer: " in done.stdout
        made = _manifest(checkout)
        assert made["environment"]["runner"] == runner
        assert made["environment"]["lock_sha256"]
        assert made["environment"]["capability"] == "AVX2"  # whatever this processor has beyond
        weights = {name: value for name, value in made["outputs"].items() if name.endswith((".safetensors", ".gguf"))}
        assert {Path(name).suffix for name in weights} == {".safetensors", ".gguf"}
        hashes.append(weights)
        if runner == "docker":
            assert made["environment"]["image_digest"] == engine.image_id(image)
            assert made["environment"]["image"] == "train"
            assert re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", made["environment"]["base_image"])
        else:
            assert [made["environment"][key] for key in ("image", "image_digest", "base_image")] == [None] * 3
    assert hashes[0] == hashes[1]
    listed = invoke("runs").stdout
    assert len(re.findall(r"^quickstart/.* merged", listed, re.MULTILINE)) == 2  # other tests' runs are there too


def test_the_callers_files_are_mounted(
    image: str, invoke: Invoke, checkout: Path, tmp_path: Path, raw_context: dict[str, Any]
) -> None:
    """A recipe and a context from outside the checkout."""
    (tmp_path / "mine.toml").write_text((checkout / "pipeline/recipes/quickstart.toml").read_text())
    (tmp_path / "context.json").write_text(json.dumps(raw_context))
    for parent in (tmp_path, *tmp_path.parents):
        if parent.is_relative_to(checkout.parent.parent.parent):
            parent.chmod(0o755)
    recipe = ("--recipe", str(tmp_path / "mine.toml"))
    asked = ("ask", "--file", str(tmp_path / "context.json"), "--question", "Who audited the figures?")
    done = invoke("train", "--runner", "docker", *recipe, *SMALL, "export", *asked)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Question: Who audited the figures?\n" in done.stdout and "\nAnswer: " in done.stdout
    assert _manifest(checkout, "mine")["recipe_name"] == "mine"


@pytest.mark.parametrize("runner", ["docker", "venv"])
def test_a_person_asks_again_and_again_in_a_terminal(runner: str, image: str, invoke: Invoke, checkout: Path) -> None:
    words = ("train", *SMALL, "export") if not list(checkout.glob("runs/quickstart/*/merged")) else ()
    done = invoke("build", "--runner", runner, *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    known = {name: value for name, value in os.environ.items() if not name.startswith("PINTUNE_")}
    known |= {"PINTUNE_BASE_IMAGE": os.environ.get("PINTUNE_BASE_IMAGE", "")}
    asked = [sys.executable, "-m", "invoke", "ask", "--runner", runner]
    with terminal(asked, checkout, known) as person:
        person.until("\n> ")
        person.type("What is new?\n")
        answered = person.until("\n> ")
        assert "Question: What is new?\n" in answered and "\nAnswer: " in answered
        if runner == "docker":
            (running,) = _docker("ps", "--quiet", "--filter", f"ancestor={image}").stdout.split()
            host = json.loads(_docker("inspect", running).stdout)[0]["HostConfig"]
            assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["NetworkMode"] == "none"
        person.type("half a question")
        person.until("half a question")
        time.sleep(0.5)  # CPython's `input` sees a SIGINT only once it waits for the next character
        person.type(CTRL_C)
        person.until("\n> ")
        person.type("context 3\n")
        assert "context 3 of" in person.until("\n> ")
        person.type(CTRL_D)
        status, left = person.end()
        assert status == 0, left
    if runner == "docker":
        assert _docker("inspect", running).returncode == 1  # it is removed


@pytest.mark.parametrize("runner", ["docker", "venv"])
def test_score_prints_the_authors_figures_alone_on_standard_output(
    runner: str, image: str, invoke: Invoke, checkout: Path, mirror: Path, tmp_path: Path
) -> None:
    if runner == "venv":
        assert invoke("build", "--runner", "venv").returncode == 0
    sample = str(ROOT / "tests" / "data" / "sample_prediction.json")
    done = invoke("score", sample, "--gold", str(mirror / "tatqa_dataset_dev.json"), "--json", "--runner", runner)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [round(found[key], 10) for key in ("em", "f1", "scale")] == [0.4592326139, 0.5887949640, 0.9094724221]
    broken = tmp_path / "broken.json"
    broken.write_text("[]")
    for parent in (tmp_path, *tmp_path.parents):
        if parent.is_relative_to(checkout.parent.parent.parent):
            parent.chmod(0o755)
    done = invoke("score", str(broken), "--gold", str(mirror / "tatqa_dataset_dev.json"), "--json", "--runner", runner)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"where: {broken}" in done.stderr  # as the caller knows it


def test_the_callers_data_is_mounted(image: str, invoke: Invoke, checkout: Path, tmp_path: Path) -> None:
    from pipeline.tatqa import sample

    (tmp_path / "mine.json").write_text(json.dumps(sample.contexts("heldout")))
    for parent in (tmp_path, *tmp_path.parents):
        if parent.is_relative_to(checkout.parent.parent.parent):
            parent.chmod(0o755)
    done = invoke(
        "data", "--runner", "docker", "--set", f"data.source={tmp_path / 'mine.json'}", "--set", "data.target=equation"
    )
    assert done.returncode == 0, done.stderr
    assert "40 contexts of mine.json, 4 of them held out" in done.stdout
    assert re.search(r"^questions +216 +24$", done.stdout, re.MULTILINE)
    (tmp_path / "mine.json").write_text("[{}]")
    done = invoke("data", "--runner", "docker", "--set", f"data.source={tmp_path / 'mine.json'}")
    assert done.returncode == 1
    assert f"{tmp_path / 'mine.json'}, row 0" in done.stderr
    assert len(json.loads((checkout / "data" / "mine" / "raw" / "train.json").read_text())) == 36  # as it was


def _until(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_killed_container_is_reported_and_resumes_to_the_same_adapter(
    image: str, invoke: Invoke, checkout: Path
) -> None:
    words = ("train", "--runner", "docker", "--set", "data.train_contexts=10", "--set", "training.checkpoint_steps=2")
    assert invoke(*words).returncode == 0
    whole = _manifest(checkout)["training"]["adapter_sha256"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        dying = pool.submit(invoke, *words)
        _until(lambda: list(checkout.glob("runs/quickstart/*/unfinished.json")))
        (run,) = (path.parent for path in checkout.glob("runs/quickstart/*/unfinished.json"))
        _until(lambda: (run / "checkpoints" / "checkpoint-2" / "sealed.json").exists())
        (running,) = _docker("ps", "-q", "--filter", f"ancestor={image}").stdout.split()
        assert _docker("kill", running).returncode == 0
        done = dying.result()
    assert done.returncode == 1
    assert "killed by signal 9" in done.stderr
    assert "invoke train --resume" in done.stderr
    done = invoke(*words, "--resume")
    assert done.returncode == 0, done.stderr
    assert "checkpoints/checkpoint-2" in done.stdout
    assert _manifest(checkout)["training"]["adapter_sha256"] == whole
    assert _manifest(checkout)["run"] == run.name


@pytest.mark.slow
def test_the_quickstart_learns_forty_points(image: str, invoke: Invoke, checkout: Path) -> None:
    done = invoke("train", "--runner", "docker", "evaluate")
    assert done.returncode == 0, done.stderr[-2000:]
    scores = json.loads((checkout / "runs" / "quickstart" / "latest" / "evaluation.json").read_text())
    print(done.stdout[-900:])
    assert 100 * (scores["tuned"]["all"]["em"] - scores["base"]["all"]["em"]) >= 40
    # what it was when README's figures were taken
    assert _manifest(checkout)["training"]["adapter_sha256"] == QUICKSTART_ADAPTER


@pytest.mark.slow
def test_real_tatqa_through_the_container(image: str, invoke: Invoke, checkout: Path, mirror: Path) -> None:
    """A few dozen contexts of dev, scored on the test_gold contexts that fit; the manifest names the files."""
    chosen = {
        "source": "tatqa",
        "train": "dev",
        "evaluation": "test_gold",
        "train_contexts": 36,
        "evaluation_contexts": 8,
    }
    words = [word for key, value in chosen.items() for word in ("--set", f"data.{key}={value}")]
    limits = (
        "--set",
        "training.max_length=640",
        "--set",
        "training.batch_contexts=1",
        "--set",
        "training.learning_rate=1e-3",
    )
    done = invoke("train", "--runner", "docker", *words, *limits, "evaluate", "export", "ask", "--context", "5")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    print(done.stdout[-3000:])
    scores = json.loads((checkout / "runs" / "quickstart" / "latest" / "evaluation.json").read_text())
    assert scores["split"] == "tatqa/test_gold"
    assert scores["questions"] >= 24
    assert scores["tuned"]["all"]["em"] > scores["base"]["all"]["em"]
    assert (
        _manifest(checkout)["inputs"]["data"]["train"]["raw_sha256"]
        == "8da095a819af6db3c14877c6df2d4d29960e41d1a63dd1fa853507bd2a616af5"
    )
