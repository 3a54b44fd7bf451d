"""With a real engine: the image, the verbs through it, and the same through a virtual environment."""

from __future__ import annotations

import concurrent.futures
import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from images import engine, pip_config
from tests.conftest import ROOT
from tests.marks import AUTHORITY, QUICKSTART_ADAPTER, TOKEN, Invoke, marked_settings

pytestmark = pytest.mark.docker

SMALL = (
    "--set",
    "data.train_contexts=6",
    "--set",
    "data.evaluation_contexts=2",
    "--set",
    "training.checkpoint_steps=2",
)


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=600)


def test_the_image_imports_without_network_as_a_user(image: str) -> None:
    done = _docker(
        "run",
        "--rm",
        "--network",
        "none",
        image,
        "python",
        "-c",
        "import torch, transformers, peft, os; print(os.getuid())",
    )
    assert (done.returncode, done.stdout.strip()) == (0, "1000"), done.stderr


def test_it_runs_as_any_user_on_a_read_only_root(image: str) -> None:
    words = (
        "--user",
        "4321:4321",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
    )
    done = _docker("run", "--rm", "--network", "none", *words, image, "python", "-m", "pipeline", "missing")
    assert (done.returncode, done.stdout) == (0, "fetch\nformat\n"), done.stderr


def _bytes_of(image: str) -> Iterator[bytes]:
    """All files of an image, with some overlap between parts so that no mark is cut in two."""
    made = engine.client().containers.create(image)
    try:
        last = b""
        for part in map(bytes, cast("Iterator[bytes]", made.export(chunk_size=1 << 22))):
            yield last + part
            last = part[-200:]
    finally:
        made.remove()


def _addresses() -> list[bytes]:
    """What this machine's own pip settings say, and the marks that the build was given."""
    settings = pip_config.read()
    own = [
        settings.index,
        *settings.extra_indexes,
        *settings.links,
        *map(str, settings.folders),
        *map(str, settings.local_indexes),
    ]
    return [text.encode() for text in (TOKEN, AUTHORITY, *own) if text]


def test_no_address_certificate_or_token_stays(image: str) -> None:
    history = _docker("history", "--no-trunc", image).stdout + _docker("image", "inspect", image).stdout
    marks = _addresses()
    assert not [mark for mark in marks if mark.decode() in history]
    found = {mark for part in _bytes_of(image) for mark in marks if mark in part}
    assert not found


def test_the_search_finds_what_is_there(image: str) -> None:
    """The last line of a file of ours: the search reads contents, to the end."""
    assert any(b"sys.exit(main())" in part for part in _bytes_of(image))


def test_a_fresh_build_of_the_tools_keeps_nothing_either(
    image: str, checkout: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """The stage that reads pip.conf, rebuilt now: a cached layer could have been made without the marks."""
    settings = marked_settings(tmp_path)
    line = next(
        line
        for line in invoke("--dry", "build", "--runner", "docker", **settings).stdout.splitlines()
        if line.startswith("docker buildx")
    )
    words = shlex.split(line)
    words[words.index("--target") + 1] = "tools"
    words[words.index("--tag") + 1] = "pintune/test-tools"
    built = subprocess.run([*words[:3], "--no-cache", *words[3:]], cwd=checkout, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    try:
        kept = (checkout / ".pintune" / "secrets" / "pip.conf").read_text()
        assert TOKEN in kept
        marks = _addresses()
        assert not {mark for part in _bytes_of("pintune/test-tools") for mark in marks if mark in part}
    finally:
        _docker("image", "rm", "-f", "pintune/test-tools")


def test_an_edit_makes_the_image_stale(image: str, invoke: Invoke, checkout: Path) -> None:
    file = checkout / "pipeline" / "progress.py"
    text = file.read_text()
    try:
        file.write_text(text + "\n")
        done = invoke("train", "--runner", "docker")
        assert done.returncode == 1
        assert "an image made from other code, lock or base" in done.stderr
    finally:
        file.write_text(text)


def _manifest(checkout: Path, recipe: str = "quickstart") -> dict[str, Any]:
    read: dict[str, Any] = json.loads((checkout / "runs" / recipe / "latest" / "manifest.json").read_text())
    return read


def test_the_whole_way_by_both_runners_gives_one_adapter(image: str, invoke: Invoke, checkout: Path) -> None:
    hashes = []
    for runner in ("docker", "venv"):
        threads = {"OMP_NUM_THREADS": "1"} if runner == "venv" else {}  # how many there are must not matter either
        done = invoke("build", "--runner", runner, "train", *SMALL, "evaluate", "export", "ask", **threads)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert re.search(r"EM base +tuned", done.stdout)
        assert "Answer: " in done.stdout
        made = _manifest(checkout)
        assert made["environment"]["runner"] == runner
        assert made["environment"]["lock_sha256"]
        assert made["environment"]["capability"] == "AVX2"  # whatever this processor has beyond
        hashes.append({name: value for name, value in made["outputs"].items() if "safetensors" in name})
        if runner == "docker":
            assert made["environment"]["image_digest"] == engine.image_id(image)
            assert made["environment"]["image"] == "train"
    assert hashes[0] == hashes[1]
    listed = invoke("runs").stdout
    assert listed.count("merged") == 2


def test_files_of_the_caller_reach_the_container(
    image: str, invoke: Invoke, checkout: Path, tmp_path: Path, raw_context: dict[str, Any]
) -> None:
    """A recipe of one's own, and a context to ask about, from anywhere on the host."""
    (tmp_path / "mine.toml").write_text((checkout / "pipeline/recipes/quickstart.toml").read_text())
    (tmp_path / "context.json").write_text(json.dumps(raw_context))
    for parent in (tmp_path, *tmp_path.parents):
        if parent.is_relative_to(checkout.parent.parent.parent):
            parent.chmod(0o755)
    recipe = ("--recipe", str(tmp_path / "mine.toml"))
    asked = ("ask", "--file", str(tmp_path / "context.json"), "--question", "Who audited the figures?")
    done = invoke("train", "--runner", "docker", *recipe, *SMALL, "export", *asked)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Question: Who audited the figures?\nAnswer: " in done.stdout
    assert _manifest(checkout, "mine")["recipe_name"] == "mine"


@pytest.mark.parametrize("runner", ["docker", "venv"])
def test_score_says_the_authors_figures_and_nothing_else_on_standard_output(
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


def test_data_of_ones_own_comes_into_the_container(image: str, invoke: Invoke, checkout: Path, tmp_path: Path) -> None:
    from pipeline.tatqa import sample

    (tmp_path / "mine.json").write_text(json.dumps(sample.contexts("heldout")))
    for parent in (tmp_path, *tmp_path.parents):
        if parent.is_relative_to(checkout.parent.parent.parent):
            parent.chmod(0o755)
    done = invoke(
        "data", "--runner", "docker", "--set", f"data.source={tmp_path / 'mine.json'}", "--set", "data.target=equation"
    )
    assert done.returncode == 0, done.stderr
    assert "12 contexts of mine.json, 1 of them held out" in done.stdout
    assert re.search(r"^questions +66 +6$", done.stdout, re.MULTILINE)
    (tmp_path / "mine.json").write_text("[{}]")
    done = invoke("data", "--runner", "docker", "--set", f"data.source={tmp_path / 'mine.json'}")
    assert done.returncode == 1
    assert f"{tmp_path / 'mine.json'}, context 0" in done.stderr
    assert len(json.loads((checkout / "data" / "mine" / "raw" / "train.json").read_text())) == 11  # as it was


def _until(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_killed_container_is_said_and_resumes_to_the_same_adapter(image: str, invoke: Invoke, checkout: Path) -> None:
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
    assert "going on from" in done.stdout
    assert _manifest(checkout)["training"]["adapter_sha256"] == whole
    assert _manifest(checkout)["run"] == run.name


def test_a_disk_that_is_full_is_said(image: str) -> None:
    done = _docker(
        "run",
        "--rm",
        "--network",
        "none",
        "--tmpfs",
        "/pintune/data:size=64k,uid=1000,gid=1000",
        image,
        "python",
        "-m",
        "pipeline",
        "fetch",
    )
    assert done.returncode == 1
    assert "disk space" in done.stderr
    assert "No space left on device" in done.stderr


def test_training_can_neither_write_elsewhere_nor_reach_a_network(image: str, checkout: Path) -> None:
    """In a container with exactly the settings of a training step."""
    from images.running import container

    code = "; ".join(
        [
            "import os, socket",
            "bad = []",
            "tries = {'root': lambda: open('/x', 'w'), 'data': lambda: open('/pintune/data/x', 'w'), 'models': lambda: open('/pintune/models/x', 'w'),"
            " 'network': lambda: socket.create_connection(('192.0.2.1', 80), 3), 'uid': lambda: os.setuid(0)}",
            "exec('for name, attempt in tries.items():\\n try:\\n  attempt(); bad.append(name)\\n except OSError:\\n  pass')",
            "print(bad, os.getuid(), os.access('/pintune/runs', os.W_OK))",
        ]
    )
    mounts = []
    for name in ("data", "models", "runs"):
        container.hand_over(checkout / name)
        mounts.append(container.Mount(checkout / name, f"/pintune/{name}", writable=name == "runs"))
    uid, gid = container.user()
    status, text = container.run(
        container.Container(image, ("python", "-c", code), tuple(mounts), {}, uid, gid), capture=True
    )
    assert (status, text.strip()) == (0, f"[] {uid} True")


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
    """A few dozen contexts of dev, scored on the test_gold contexts that fit; the manifest says which files they were."""
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
