"""The service webui: hardened as training is, on loopback alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from images.errors import Stop
from images.services import program as programs
from images.services import webui
from tests.marks import Invoke


def test_its_container_has_trainings_walls(call: Invoke) -> None:
    done = call("--dry", "webui", "--runner", "docker", "--flavor", "cpu")
    assert done.returncode == 0, done.stderr
    ran = done.stdout.splitlines()
    steps = [line.partition("-m pipeline ")[2].split()[0] for line in ran if "-m pipeline" in line]
    assert steps == ["fetch", "format", "llamaboard"]
    (started,) = [line for line in done.stdout.split("\ndocker ") if "llamafactory.cli" in line]
    for word in (
        "--detach",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
        "--read-only",
        "--publish 127.0.0.1:7860:7860",
        "target=/pintune/data,readonly",
        "target=/pintune/models,readonly",
        "--env GRADIO_ANALYTICS_ENABLED=False",
        "pintune/webui:cpu python -c",
    ):
        assert word in started, word
    assert "target=/pintune/runs,readonly" not in started and "enable_ip_masquerade=false" in done.stdout


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_another_address_than_loopback_is_refused(host: str) -> None:
    with pytest.raises(Stop, match="webui on loopback: it asks nobody for a token"):
        programs.need_loopback(webui.PROGRAM, host)


def test_it_starts_in_its_folder_with_its_own_programs_first_on_the_path(tmp_path: Path) -> None:
    (tmp_path / webui.FOLDER).mkdir(parents=True)
    package = tmp_path / "llamafactory"
    package.mkdir()
    names = ("GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "PATH")
    (package / "cli.py").write_text(
        f"import os, sys\ndef main(): print(os.getcwd(), sys.argv[1:], *[os.environ[each] for each in {names}])\n"
    )
    words = [word.replace("{host}", "127.0.0.1").replace("{port}", "7861") for word in webui.PROGRAM.command[1:]]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
    folder, programs_ = tmp_path / webui.FOLDER, Path(sys.executable).parent
    assert done.stdout.startswith(f"{folder} ['webui'] 127.0.0.1 7861 {programs_}:"), done.stdout + done.stderr
