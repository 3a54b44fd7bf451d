"""The devcontainer, opened by the real CLI with a real engine."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import engine
from tests.conftest import ROOT, commit_all, invoke_in, lacking
from tests.marks import QUICKSTART_ADAPTER

pytestmark = pytest.mark.docker

CLI = ROOT / "tests" / "node" / "node_modules" / ".bin" / "devcontainer"
SMALL = ("--set", "data.train_contexts=6", "--set", "data.evaluation_contexts=2")


def _cli(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(CLI), words[0], "--workspace-folder", str(folder), *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=1500)


@pytest.fixture(scope="module")
def opened(committed: Path) -> Iterator[Path]:
    """The committed copy, opened as a devcontainer."""
    commit_all(committed)  # the tests of releases record digests in it
    if not CLI.exists():
        lacking("the devcontainer CLI: npm ci --prefix tests/node")
    done = _cli("up", folder=committed)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["outcome"], result["remoteUser"], result["remoteWorkspaceFolder"]) == (
        "success",
        "pintune",
        "/workspaces/pintune",
    )
    assert "runner  " in done.stderr  # postCreateCommand ran doctor
    yield committed
    engine.client().containers.get(result["containerId"]).remove(force=True)


def test_build_train_export_inside(opened: Path) -> None:
    done = _cli("exec", "invoke", "build", "train", *SMALL, "evaluate", "export", "ask", folder=opened)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "runner here (inside the image dev)" in done.stdout
    assert "this is the image dev cpu that the matrix asks for" in done.stdout
    assert "Answer: " in done.stdout
    made = json.loads((opened / "runs" / "quickstart" / "latest" / "manifest.json").read_text())["environment"]
    assert (made["runner"], made["image"], made["dirty"]) == ("here", "dev", False)
    assert made["revision"]
    assert made["image_digest"] == engine.image_id("pintune/dev:cpu")
    assert re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", made["base_image"])


def test_the_devcontainer_and_docker_train_the_same_adapter(opened: Path, image: str) -> None:
    """The dev image has the same wheels as the train image."""
    inside = json.loads((opened / "runs" / "quickstart" / "latest" / "manifest.json").read_text())["training"][
        "adapter_sha256"
    ]
    call = invoke_in(opened)
    done = call("build", "--runner", "docker", "train", *SMALL)
    assert done.returncode == 0, done.stderr[-2000:]
    outside = json.loads((opened / "runs" / "quickstart" / "latest" / "manifest.json").read_text())
    assert outside["environment"]["runner"] == "docker"
    assert outside["training"]["adapter_sha256"] == inside


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("id", "-u"), "1000\n"),
        (("sh", "-c", "echo $HOME $HF_HOME"), "/home/pintune /var/cache/pintune/huggingface\n"),
        (("sh", "-c", "touch $HOME/a $XDG_CACHE_HOME/b && echo well"), "well\n"),
        (("git", "--version"), "git version"),
        (("sh", "-c", "sed -n 's/^CapBnd:\\t//p' /proc/self/status"), "0000000000000000\n"),
        (("jupyter", "lab", "--version"), "4."),
        (("tensorboard", "--version_tb"), "2."),
    ],
)
def test_the_devcontainers_environment(opened: Path, words: tuple[str, ...], wanted: str) -> None:
    done = _cli("exec", *words, folder=opened)
    assert (done.returncode, done.stdout.startswith(wanted)) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize(("verb", "port"), [("notebook", 8888), ("tensorboard", 6006)])
def test_the_workbench_opens_inside_on_the_forwarded_port(opened: Path, verb: str, port: int) -> None:
    """A process of the devcontainer; what devcontainer.json forwards is what it listens on."""
    configured = json.loads((opened / ".devcontainer" / "devcontainer.json").read_text())
    assert port in configured["forwardPorts"]
    started = _cli("exec", "invoke", verb, folder=opened)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        assert "runner here (inside the image dev)" in started.stdout
        found = re.search(rf"http://127\.0\.0\.1:{port}/\S*", started.stdout)
        assert found is not None, started.stdout
        code = f"import urllib.request; print(urllib.request.urlopen('{found.group()}').status)"
        assert _cli("exec", "python", "-c", code, folder=opened).stdout == "200\n"
        assert found.group() in _cli("exec", "invoke", verb, folder=opened).stdout
    finally:
        stopped = _cli("exec", "invoke", "down", folder=opened)
    assert f"stopped {verb}" in stopped.stdout, stopped.stdout + stopped.stderr


def test_the_workspace_of_any_host_user_can_be_written_and_committed(opened: Path) -> None:
    """The tests are often run by root, whose files the container's user does not own."""
    identity = "-c user.name=tests -c user.email=tests@example.invalid"
    script = (
        "set -e; echo '# edited' >>README.md; mkdir -p docs/new; touch docs/new/a pipeline/b tests/images/c;"
        f" git add --all; git {identity} commit --quiet --message edit; git status --porcelain; git reset --hard HEAD~1"
    )
    done = _cli("exec", "sh", "-c", script, folder=opened)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("HEAD is now at")
    status = subprocess.run(["git", "status", "--porcelain"], cwd=opened, capture_output=True, text=True)
    assert (status.returncode, status.stdout) == (0, ""), status.stderr  # the host's git as well


@pytest.mark.slow
def test_the_whole_quickstart_inside(opened: Path) -> None:
    """Without overrides, the adapter is the one that the runners docker and venv train."""
    done = _cli("exec", "invoke", "train", "evaluate", "export", folder=opened)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    made = json.loads((opened / "runs" / "quickstart" / "latest" / "manifest.json").read_text())
    assert made["training"]["adapter_sha256"] == QUICKSTART_ADAPTER
