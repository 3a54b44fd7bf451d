"""The verb mcp: a process in the foreground, whose standard output is the protocol's alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from images.errors import StepFailed
from images.running import runner
from images.running.choices import Choices
from images.services import serve
from images.verbs import cli, serving
from tests.marks import NO_ENGINE, Invoke

CHOICES = Choices("quickstart", "cpu", "venv", (), False)


def test_the_container_has_standard_input_and_no_network(call: Invoke) -> None:
    done = call("--dry", "mcp", "--runner", "docker", **NO_ENGINE)
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith("docker run --rm ") and " --interactive " in line
    assert " --tty" not in line and " --network none " in line
    assert "python -m pipeline mcp --recipe quickstart" in line
    assert " --mcp" in call("--dry", "serve", "--mcp", "--runner", "docker", **NO_ENGINE).stdout
    assert " --mcp" not in call("--dry", "serve", "--runner", "docker", **NO_ENGINE).stdout


def test_vllm_has_no_tool(call: Invoke) -> None:
    for words in (("mcp",), ("serve", "--mcp")):
        done = call("--dry", *words, "--flavor", "cu130", "--runner", "docker", **NO_ENGINE)
        assert done.returncode == 1
        assert "the flavor cpu, whose server has the tool" in done.stderr


def test_only_the_protocol_is_on_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").touch()
    code = "import sys; print('protocol'); sys.exit(3)"

    def command(*words: Any) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-c", code], {}

    monkeypatch.setitem(cli._reasons, "flavor", "asked for")
    monkeypatch.setattr(runner, "need_environment", lambda *words, **options: print("built"))
    monkeypatch.setattr(serve, "mcp", command)
    with pytest.raises(StepFailed, match="mcp ended with status 3"):
        serving.mcp(CHOICES, str(tmp_path))
    out, err = capfd.readouterr()
    assert out == "protocol\n"
    assert err.endswith("built\n")
