"""The verbs notebook, tensorboard and shell without an engine: what they refuse, and what they print."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from images import engine, matrix
from images.building import lock
from images.errors import Stop
from images.running import runner as runners
from images.running.choices import Choices
from images.services import processes, workbench
from images.services import start as services
from images.services.program import Program
from images.verbs import cli
from images.verbs import workbench as verbs
from tests.marks import NO_ENGINE, Invoke

PAGE = """
import http.server, os, sys, urllib.parse
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = urllib.parse.urlsplit(self.path)
        token = urllib.parse.parse_qs(asked.query).get("token", [""])[0]
        self.send_response(200 if asked.path == "/api" or token == os.environ["PAGE_TOKEN"] else 403)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_without_its_environment_the_build_command_is_named(call: Invoke) -> None:
    for verb, image in (("notebook", " --image dev"), ("tensorboard", " --image dev")):
        done = call(verb, "--flavor", "cpu", "--runner", "venv", **NO_ENGINE)
        assert done.returncode == 1 and f"next: invoke build{image} --runner venv" in done.stderr, done.stderr


def test_what_is_not_answered_on_other_addresses(call: Invoke) -> None:
    shown = call("--dry", "notebook", "--host", "0.0.0.0", "--flavor", "cpu", "--runner", "docker", **NO_ENGINE)
    assert "--publish 0.0.0.0:8888:8888" in shown.stdout and "TOKEN=" not in shown.stdout
    assert "No idea what '--host' is" in call("tensorboard", "--host", "0.0.0.0").stderr


def test_a_shell_needs_a_terminal_and_a_step(call: Invoke) -> None:
    done = call("shell", "--flavor", "cpu", "--runner", "venv", **NO_ENGINE)
    assert done.returncode == 1 and "wanted: a terminal for a shell" in done.stderr
    done = call("shell", "--step", "tain", "--flavor", "cpu", "--runner", "venv", **NO_ENGINE)
    assert done.returncode == 1 and "found: 'tain'" in done.stderr and "fetch" in done.stderr
    shown = call("--dry", "shell", "--step", "fetch", "--flavor", "cpu", "--runner", "docker", **NO_ENGINE).stdout
    assert "docker run --rm" in shown and " --network bridge --interactive --tty " in shown
    assert shown.rstrip().endswith("pintune/train:cpu bash")
    shown = call("--dry", "shell", "--flavor", "cpu", "--runner", "docker", **NO_ENGINE).stdout
    assert "--network none" in shown and "target=/pintune/data,readonly" in shown


def test_a_verb_after_down_is_no_name(call: Invoke) -> None:
    for name in ("serve", "notebook", "tensorboard"):
        assert f"next: invoke down --name {name};" in call("down", name, **NO_ENGINE).stderr


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """A program of the test environment, and a checkout of its own for its records."""
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.setattr(engine, "answers", lambda: False)
    monkeypatch.setattr(runners, "need_environment", lambda *_: None)
    monkeypatch.setattr("images.services.program.build.source_hash", lambda image, flavor: "0")
    monkeypatch.setattr("images.running.environment.lock.sha256", lambda path: "0")
    monkeypatch.setattr("images.running.environment.venv.python", lambda image, flavor: Path(sys.executable))
    monkeypatch.delenv("PAGE_TOKEN", raising=False)
    command = ("python", "-c", PAGE, "{port}")
    return Program("page", "dev", command, 18800, "/api", 60, "/lab", "PAGE_TOKEN", always_token=True)


def test_one_link_that_opens_the_next_free_port_and_a_second_start(
    page: Program, capsys: pytest.CaptureFixture[str]
) -> None:
    choices = Choices("quickstart", "cpu", "venv")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", services.free_port("127.0.0.1", 18800)))
        taken.listen()
        wanted = taken.getsockname()[1]
        try:
            verbs.start(choices, "venv", page, "127.0.0.1", wanted)
            first = capsys.readouterr().out
            link = next(word for word in first.split() if word.startswith("http"))
            assert f"port {wanted} was taken" in first and first.count("http") == 1
            assert f":{wanted}/" not in link and "/lab?token=pintune-" in link
            code = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).status)"
            for url, status in ((link, "200"), (link[:-1] + "~", "403")):
                done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True)
                assert status in done.stdout + done.stderr
            verbs.start(choices, "venv", page, "127.0.0.1", wanted)
            second = capsys.readouterr().out
            assert link in second and "it runs already" in second
        finally:
            services.stop()
    assert not processes.folder().exists()


def test_a_devcontainer_has_its_own_program_and_others_in_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "runner", lambda choices: "here")
    choices = Choices("quickstart", "cpu", "auto")
    for inside, image, runner in (
        ("dev", "dev", "here"),
        ("dev", "train", "here"),
        ("dev", "serve", "venv"),
        ("train", "dev", "venv"),
    ):
        monkeypatch.setenv("PINTUNE_IMAGE", inside)
        assert verbs._runner(choices, image) == runner


def test_a_shell_inside_the_dev_image(bare: Path) -> None:
    """It starts with the environment's programs first, in the checkout, and its status is no failure of the verb."""
    leader, follower = pty.openpty()
    inside = {"PINTUNE_IMAGE": "dev", "PINTUNE_FLAVOR": "cpu", "SHELL": "/bin/sh"}
    inside["PINTUNE_LOCK"] = lock.sha256(matrix.lock_file("dev", "cpu"))
    words = [sys.executable, "-m", "invoke", "shell", "--runner", "here", "--flavor", "cpu"]
    variables = {**os.environ, **inside}
    with subprocess.Popen(words, cwd=bare, env=variables, stdin=follower, stdout=follower, stderr=follower) as shell:
        os.close(follower)
        os.write(leader, b'echo "first=$PATH" in $PWD; exit 3\n')
        text = ""
        with contextlib.suppress(OSError), os.fdopen(leader, "rb", buffering=0) as terminal:  # EIO at its end
            while part := terminal.read(4096):
                text += part.decode(errors="replace")
    assert shell.returncode == 0
    assert f"first={Path(sys.executable).parent}:" in text and f"in {bare}" in text and "without walls" in text


def test_a_stop_of_the_programs_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "_runner", lambda choices, image: "venv")
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    with pytest.raises(Stop, match="the folder with the notebooks"):
        verbs.notebook(Choices("quickstart", "cpu", "venv"), "127.0.0.1", 8888)
    assert workbench.NOTEBOOKS == "notebooks"
