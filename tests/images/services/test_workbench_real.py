"""`invoke notebook`, `invoke tensorboard` and `invoke shell` through a real engine, opened by a real browser."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium
from tests.conftest import ROOT
from tests.marks import Invoke

pytestmark = pytest.mark.docker
FLAGS = ("--runner", "docker", "--flavor", "cpu")
SCREENSHOTS = ROOT / ".pintune" / "test-artefacts"
READY = 15  # seconds from the command to the page, on a machine with nothing else to do


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _left(checkout: Path) -> str:
    mine = f"label=dev.pintune.checkout={checkout}"
    return _docker("ps", "--all", "--quiet", "--filter", mine) + _docker("network", "ls", "--quiet", "--filter", mine)


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.fixture(scope="module")
def built(engine_there: None, invoke: Invoke, checkout: Path) -> Iterator[Path]:
    """The checkout, with the dev image, which the devcontainer has too."""
    done = invoke("build", "--image", "dev", *FLAGS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    yield checkout
    invoke("down")


def _picture(url: str, name: str, width: int, profile: Path, drawn: int) -> None:
    """A screenshot as an artefact of the tests; it has more bytes than an empty page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    screenshot = SCREENSHOTS / f"{name}-{width}.png"
    screenshot.unlink(missing_ok=True)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars"]
    command = [chromium(), *options, f"--user-data-dir={profile}", f"--window-size={width},900"]
    # time passes quickly for the page while nothing is loading
    command += ["--virtual-time-budget=60000", f"--screenshot={screenshot}", url]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert screenshot.stat().st_size > drawn


def _link(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    (link,) = set(re.findall(r"http://\S+", done.stdout))
    return str(link)


def test_the_notebook_opens_in_a_browser_and_leaves_nothing(built: Path, invoke: Invoke, tmp_path: Path) -> None:
    begun = time.monotonic()
    started = invoke("notebook", *FLAGS, "--port", "18888")
    try:
        link = _link(started)
        assert _status(link) == 200
        print(f"notebook: the page after {time.monotonic() - begun:.1f} s, {READY} wanted")
        base, _, token = link.partition("/lab/tree/notebooks?token=")
        contents = f"{base}/api/contents/notebooks/look_at_the_data.ipynb"
        assert [_status(f"{contents}?token={each}") for each in (token, "wrong", "")] == [200, 403, 403]
        (container,) = _docker("ps", "--quiet", "--filter", f"label=dev.pintune.checkout={built}").split()
        made: dict[str, Any] = json.loads(_docker("inspect", container))[0]
        host = made["HostConfig"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and "no-new-privileges" in host["SecurityOpt"]
        assert made["Config"]["User"].split(":")[0] not in ("", "0")
        assert {each["HostIp"] for each in host["PortBindings"]["8888/tcp"]} == {"127.0.0.1"}
        writable = {Path(each["Destination"]).name for each in made["Mounts"] if each["RW"] and each["Type"] == "bind"}
        assert writable == {"runs", "notebooks"}
        assert token not in json.dumps(made["Config"]["Labels"]) + json.dumps(made["Config"]["Cmd"])
        assert token not in _docker("logs", container)
        # a kernel imports the pipeline, and a notebook is saved
        code = "import pipeline.job, torch, matplotlib; open('/pintune/notebooks/mine.txt', 'w').write('saved')"
        _docker("exec", "--workdir", "/pintune", container, "python", "-c", code)
        assert (built / "notebooks" / "mine.txt").read_text() == "saved"
        (built / "notebooks" / "mine.txt").unlink()
        again = invoke("notebook", *FLAGS)
        assert "it runs already" in again.stdout and _link(again) == link
        opened = f"{base}/lab/tree/notebooks/look_at_the_data.ipynb?token={token}"
        for width, drawn in ((1280, 60_000), (420, 15_000)):
            _picture(opened, "notebook", width, tmp_path / str(width), drawn)
    finally:
        stopped = invoke("down", "--name", "notebook")
    assert stopped.returncode == 0 and "stopped notebook" in stopped.stdout
    assert _left(built) == ""


def test_a_stale_container_a_taken_port_and_another_image_are_named(built: Path, invoke: Invoke) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 16006))
        taken.listen()
        started = invoke("tensorboard", *FLAGS, "--port", "16006")
    try:
        assert "port 16006 was taken" in started.stdout and ":16006/" not in _link(started)
        (container,) = _docker("ps", "--quiet", "--filter", f"label=dev.pintune.checkout={built}").split()
        _docker("kill", container)  # what a crash or a restart of the machine leaves
        assert _link(invoke("tensorboard", *FLAGS, "--port", "16106"))
        assert len(_docker("ps", "--all", "--quiet", "--filter", f"label=dev.pintune.checkout={built}").split()) == 1
        (container,) = _docker("ps", "--quiet", "--filter", f"label=dev.pintune.checkout={built}").split()
        _docker("pause", container)
        hung = invoke("tensorboard", *FLAGS)
        assert hung.returncode == 1 and "has not answered" in hung.stderr and "invoke down --name" in hung.stderr
        _docker("unpause", container)
    finally:
        assert invoke("down").returncode == 0
    assert _left(built) == ""


def test_tensorboard_shows_runs_and_broken_ones(built: Path, invoke: Invoke, tmp_path: Path) -> None:
    run = built / "runs" / "other" / "20260101-000000-abcdef"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text("{")
    begun = time.monotonic()
    started = invoke("tensorboard", *FLAGS, "--port", "16206")
    try:
        link = _link(started)
        assert _status(link) == 200
        print(f"tensorboard: the page after {time.monotonic() - begun:.1f} s, {READY} wanted")
        with urllib.request.urlopen(f"{link}data/plugin/reports/runs") as answer:
            states = {row["name"]: row["state"] for row in json.load(answer)}
        assert states["other/20260101-000000-abcdef"].startswith("broken: manifest.json")
        for width, drawn in ((1280, 15_000), (420, 8_000)):
            _picture(f"{link}#reports", "tensorboard", width, tmp_path / str(width), drawn)
    finally:
        shutil.rmtree(run.parent)
        assert invoke("down").returncode == 0
    assert _left(built) == ""


def test_an_engine_that_ends_is_named(built: Path, invoke: Invoke, tmp_path: Path) -> None:
    """Through a socket of our own, which closes once the container has started."""
    path = str(tmp_path / "engine.sock")
    with _proxy(path, until=lambda: bool(_docker("ps", "--quiet", "--filter", f"label=dev.pintune.checkout={built}"))):
        done = invoke("notebook", *FLAGS, "--port", "18988", DOCKER_HOST=f"unix://{path}")
    try:
        assert done.returncode == 1 and "wanted: a Docker engine that answers" in done.stderr, done.stderr
        assert "next: start Docker, then invoke down" in done.stderr
    finally:
        assert invoke("down").returncode == 0
    assert _left(built) == ""


@contextlib.contextmanager
def _proxy(path: str, until: Any) -> Iterator[None]:
    """The engine's socket under another path, until a condition holds."""
    target = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    open_: list[socket.socket] = [listener]

    def pump(source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := source.recv(65536):
                to.sendall(part)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.socket(socket.AF_UNIX)
                there.connect(target)
                open_.extend((here, there))
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    def watch() -> None:
        end = time.monotonic() + 120
        while not until() and time.monotonic() < end:
            time.sleep(0.1)
        Path(path).unlink()
        for each in open_:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    threads = [threading.Thread(target=each, daemon=True) for each in (accept, watch)]
    for thread in threads:
        thread.start()
    yield
    threads[1].join()


def test_a_shell_has_the_walls_of_its_step(built: Path, invoke: Invoke, image: str) -> None:
    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "invoke", "shell", *FLAGS]
    with subprocess.Popen(words, cwd=built, stdin=follower, stdout=follower, stderr=follower) as shell:
        os.close(follower)
        script = (
            "id -u; touch data/x; touch runs/x && echo written; ls /sys/class/net; python -m pipeline --help; exit 4"
        )
        os.write(leader, script.encode() + b"\n")
        text = ""
        with contextlib.suppress(OSError), os.fdopen(leader, "rb", buffering=0) as terminal:  # EIO at its end
            while part := terminal.read(4096):
                text += part.decode(errors="replace")
    (built / "runs" / "x").unlink()
    assert shell.returncode == 0, text
    assert "it may write to runs/, without a network" in text and "usage: python -m pipeline" in text
    assert "Read-only file system" in text and "\nwritten" in text.replace("\r", "") and "eth0" not in text


def test_trackers_write_in_a_container_of_the_image_dev(built: Path, invoke: Invoke, tiny_model: Path) -> None:
    from tests.steps import RECIPE  # needs what the host side's own environment lacks

    shutil.copytree(tiny_model, built / "models" / "tiny", dirs_exist_ok=True)
    (built / "tracked.toml").write_text(RECIPE, encoding="utf-8")
    tracked = ("--set", 'training.trackers=["mlflow","trackio","wandb"]')
    done = invoke("train", "--image", "dev", "--recipe", "tracked.toml", *FLAGS, *tracked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tracks no more" not in done.stdout and "read-only" not in done.stdout + done.stderr
    runs = built / "runs" / "tracked"
    assert [*runs.glob("mlflow/*/*/metrics/loss")] and [*runs.glob("trackio/*.db")]
    assert [*runs.glob("wandb/offline-run-*/run-*.wandb")]
