"""A program described as a value, as the container or the process that runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import matrix
from images.errors import Stop
from images.running import container, venv
from images.running.choices import Choices
from images.services import containers, program
from images.services.program import Program, Token

CHOICES = Choices("quickstart", "cpu", "docker", dry=True)
PROGRAM = Program(
    "page",
    "dev",
    ("python", "-m", "page", "--ip={host}", "--port={port}", "{other}"),
    8888,
    "/api",
    path="/lab",
    token="JUPYTER_TOKEN",
    always_token=True,
    writes=("runs",),
    mounts=(program.inside("pipeline"),),
    environment={"HOME": "/tmp"},
)


def test_a_token_is_asked_for_on_other_addresses_or_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTER_TOKEN", raising=False)
    made = [program.token("JUPYTER_TOKEN", host) for host in ("127.0.0.1", "localhost", "::1")]
    assert made == [Token("", False)] * 3
    one, other = program.token("JUPYTER_TOKEN", "0.0.0.0"), program.token("JUPYTER_TOKEN", "127.0.0.1", always=True)
    assert one.is_new and other.is_new and len(one.value) > 32 and one != other and one.value not in repr(one)
    monkeypatch.setenv("JUPYTER_TOKEN", "mine")
    assert program.token("JUPYTER_TOKEN", "0.0.0.0") == Token("mine", False)


def test_one_that_takes_no_token_stays_on_loopback(tmp_path: Path) -> None:
    without = Program("page", "dev", ("python",), 6006, "/")
    with pytest.raises(Stop, match="page on loopback") as refused:
        program.service(CHOICES, "docker", without, "0.0.0.0", 6006, Token("", False), tmp_path)
    assert "ssh -L 6006:127.0.0.1:6006" in refused.value.todo


def test_a_container_has_its_port_mounts_and_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "user", lambda: (501, 20))
    made = program.service(CHOICES, "docker", PROGRAM, "127.0.0.1", 8890, Token("secret-token", False), tmp_path)
    words = container.argv(containers.of(made))
    line = " ".join(words)
    assert words[-7:] == ["pintune/dev:cpu", "python", "-m", "page", "--ip=0.0.0.0", "--port=8888", "{other}"]
    assert "--publish 127.0.0.1:8890:8888" in line and "--read-only" in words and "--cap-drop ALL" in line
    assert f"source={matrix.ROOT}/pipeline,target=/pintune/pipeline,readonly" in line
    assert f"source={matrix.ROOT}/models,target=/pintune/models,readonly" in line
    assert f"source={matrix.ROOT}/runs,target=/pintune/runs " in line
    assert "--env JUPYTER_TOKEN " in line and "secret-token" not in line
    assert "dev.pintune.service.token=JUPYTER_TOKEN" in line
    assert (made.name, made.path, made.health) == ("page", "/lab", "/api")


def test_a_process_runs_in_the_environment_of_the_images_lock(tmp_path: Path) -> None:
    made = program.service(CHOICES, "venv", PROGRAM, "127.0.0.1", 8890, Token("secret-token", True), tmp_path)
    python = str(venv.python("dev", "cpu"))
    assert made.command == (python, "-m", "page", "--ip=127.0.0.1", "--port=8890", "{other}")
    assert (made.environment["JUPYTER_TOKEN"], made.environment["HOME"]) == ("secret-token", "/tmp")
    script = Program("page", "dev", ("page-cli", "{port}"), 8888, "/api")
    made = program.service(CHOICES, "venv", script, "127.0.0.1", 8890, Token("", False), tmp_path)
    assert made.command == (str(Path(python).with_name("page-cli")), "8890")


def test_a_new_token_is_no_other_service_but_one_that_is_set_is(tmp_path: Path) -> None:
    def of(token: Token) -> str:
        return program.service(CHOICES, "docker", PROGRAM, "127.0.0.1", 8890, token, tmp_path).of

    assert of(Token("a", True)) == of(Token("b", True)) != of(Token("a", False)) != of(Token("b", False))
