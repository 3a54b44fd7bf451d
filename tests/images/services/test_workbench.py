"""The programs of the workbench: whole command lines, and notebooks that cannot be saved."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from images import engine, matrix
from images.errors import Stop
from images.running import container
from images.running.choices import Choices
from images.services import containers, program, workbench
from images.services.program import Token

CHOICES = Choices("quickstart", "cpu", "docker", dry=True)


@pytest.fixture(autouse=True)
def caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "user", lambda: (501, 20))
    for name in ("PINTUNE_PIDS", "CUDA_VISIBLE_DEVICES", "PINTUNE_DEBUG"):
        monkeypatch.delenv(name, raising=False)


def test_the_notebooks_container_writes_to_notebooks_and_runs_alone(tmp_path: Path) -> None:
    made = program.service(
        CHOICES, "docker", workbench.notebook(True), "127.0.0.1", 8889, Token("secret", True), tmp_path
    )
    assert made.container is not None
    line = engine.shown(container.argv(containers.of(made)))
    mounts = {each.target.removeprefix("/pintune/"): each.writable for each in made.container.mounts}
    assert mounts == {
        "data": False,
        "models": False,
        "runs": True,
        "pipeline": False,
        "images/jupyter": False,
        "notebooks": True,
    }
    for words in ("--read-only", "--cap-drop ALL", "--user 501:20", "--publish 127.0.0.1:8889:8888", "--env HOME=/tmp"):
        assert f" {words} " in line
    assert line.endswith(
        " --env JUPYTER_TOKEN pintune/dev:cpu python -m jupyterlab --no-browser --ip=0.0.0.0 --port=8888"
        " --ServerApp.port_retries=0 --ServerApp.root_dir=. --ServerApp.allow_root=True"
        " --LabApp.extension_manager=readonly --KernelManager.transport=ipc"
    )
    assert "secret" not in line


def test_tensorboards_container_writes_nowhere(tmp_path: Path) -> None:
    made = program.service(
        CHOICES, "docker", workbench.tensorboard(True), "127.0.0.1", 6006, Token("", False), tmp_path
    )
    assert made.container is not None and not [each for each in made.container.mounts if each.writable]
    assert made.container.command == ("python", "-m", "pipeline.runs.board", "--host=0.0.0.0", "--port=6006")


def test_on_a_gpu_the_notebook_has_it_and_tensorboard_has_not(tmp_path: Path) -> None:
    on_gpu = dataclasses.replace(CHOICES, flavor="cu130")
    for made, gpu in ((workbench.notebook(True), "nvidia"), (workbench.tensorboard(True), "")):
        service = program.service(on_gpu, "docker", made, "127.0.0.1", 7000, Token("", False), tmp_path)
        assert service.container is not None and service.container.gpu == gpu


def test_a_process_reads_our_settings_and_keeps_its_home(tmp_path: Path) -> None:
    made = program.service(CHOICES, "venv", workbench.notebook(False), "127.0.0.1", 8888, Token("t", True), tmp_path)
    assert made.environment["JUPYTER_CONFIG_PATH"] == str(matrix.ROOT / "images" / "jupyter")
    assert made.environment.get("HOME") == os.environ.get("HOME")
    assert (matrix.ROOT / "images/jupyter/labconfig/default_setting_overrides.json").is_file()


def test_notebooks_that_cannot_be_saved_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    folder = tmp_path / "notebooks"
    with pytest.raises(Stop, match="no such folder") as missing:
        workbench.need_writable(folder, 1000, 1000)
    assert missing.value.todo == "git checkout notebooks"
    folder.mkdir(mode=0o755)
    workbench.need_writable(folder, os.getuid(), os.getgid())
    other = os.getuid() + 1234
    with pytest.raises(Stop, match=f"the user {other}:{os.getgid() + 1} may not write to") as refused:
        workbench.need_writable(folder, other, os.getgid() + 1)
    assert refused.value.where == str(folder) and "chown -R" in refused.value.todo
    folder.chmod(0o775)
    workbench.need_writable(folder, other, folder.stat().st_gid)
    (folder / "a.ipynb").touch(mode=0o644)
    with pytest.raises(Stop, match=r"notebooks that can be saved(?s:.*)a\.ipynb"):
        workbench.need_writable(folder, other, folder.stat().st_gid)
