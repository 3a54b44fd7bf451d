"""What a step gets from the host: variables, mounts and network settings."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from images import engine, git, matrix, pip_config
from images.building import lock
from images.errors import Stop
from images.running import environment, step_call, venv
from images.running.choices import Choices
from images.running.container import Container
from images.running.limits import Limits

DRY = Choices("quickstart", "cpu", "docker", dry=True)


@pytest.fixture(autouse=True)
def own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables that a step would get from the environment of the tests."""
    for name in ("PINTUNE_MIRROR", "PINTUNE_DEBUG", "CUDA_VISIBLE_DEVICES", "HF_TOKEN", *pip_config.PROXIES):
        monkeypatch.delenv(name, raising=False)


def _of(step: str, scratch: Path) -> Container:
    return environment.for_container(DRY, step_call.make(DRY, step), scratch, capture=True)


def test_variables_say_where_a_step_runs_and_what_from(monkeypatch: pytest.MonkeyPatch) -> None:
    made = environment.variables(DRY, "docker", "train")
    assert (made["PINTUNE_RUNNER"], made["PINTUNE_FLAVOR"]) == ("docker", "cpu")
    assert made["PINTUNE_LOCK"] == lock.sha256(matrix.lock_file("train", "cpu"))
    assert "PINTUNE_LOCK" not in environment.variables(DRY, "here", "train")  # the image has set it
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("PINTUNE_DEBUG", "1")
    made = environment.variables(DRY, "venv", "train")
    assert (made["CUDA_VISIBLE_DEVICES"], made["CUDA_DEVICE_ORDER"]) == ("1", "PCI_BUS_ID")
    assert made["PINTUNE_DEBUG"] == "1"


@pytest.mark.parametrize(
    ("step", "writable"), [("fetch", ["data", "models"]), ("format", ["data"]), ("train", ["runs"]), ("ask", [])]
)
def test_a_step_writes_to_its_own_folders_only(step: str, writable: list[str], tmp_path: Path) -> None:
    made = _of(step, tmp_path)
    assert [mount.source.name for mount in made.mounts if mount.writable] == writable
    assert made.network == ("bridge" if step == "fetch" else "none")
    assert made.environment.get("PIP_CONFIG_FILE", "") == ("/run/secrets/pip.conf" if step == "fetch" else "")


def test_the_container_has_the_limits_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = _of("train", tmp_path)
    assert made.limits == Limits()
    assert "OMP_NUM_THREADS" not in made.environment
    monkeypatch.setenv("PINTUNE_CPUS", "3.5")
    monkeypatch.setenv("PINTUNE_TMP", "64m")
    made = _of("train", tmp_path)
    assert (made.limits.cpus, made.limits.tmp) == (3.5, "64m")
    assert (made.environment["OMP_NUM_THREADS"], made.environment["PINTUNE_TMP"]) == ("3", "64m")


def test_the_engines_cpus_are_asked_before_a_container_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINTUNE_CPUS", "3")
    monkeypatch.setattr(engine, "client", lambda: SimpleNamespace(info=lambda: {"NCPU": 2}))
    assert _of("train", tmp_path).limits.cpus == 3  # a dry call asks no engine
    with pytest.raises(Stop, match="where: PINTUNE_CPUS"):
        environment.for_container(dataclasses.replace(DRY, dry=False), step_call.make(DRY, "train"), tmp_path, True)


def test_fetch_gets_the_hosts_network_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("PINTUNE_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:1")
    monkeypatch.setenv("HF_TOKEN", "secret")
    (tmp_path / "settings").mkdir()
    mounts = environment._network({}, tmp_path / "settings", dry=False)
    made = _of("fetch", tmp_path / "settings")
    assert list(made.mounts)[-len(mounts) :] == mounts  # a dry call writes nothing, and mounts the same
    targets = {mount.target: mount.source for mount in mounts}
    assert targets["/pintune/mirror"] == tmp_path / "mirror"
    assert targets["/run/secrets/pip.conf"].read_text().startswith("[global]")
    assert targets["/run/secrets/pip.conf"].stat().st_mode & 0o077 == 0
    assert made.environment["HTTPS_PROXY"] == "http://proxy.invalid:1"
    assert made.environment["HF_TOKEN"] == "secret"
    assert "HF_TOKEN" not in _of("train", tmp_path).environment


def test_a_mirror_must_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINTUNE_MIRROR", str(tmp_path / "none"))
    with pytest.raises(Stop, match="unset PINTUNE_MIRROR"):
        _of("fetch", tmp_path)


@pytest.mark.parametrize(
    ("flavor", "step", "gpu"), [("cu130", "train", "nvidia"), ("cu130", "fetch", ""), ("cpu", "train", "")]
)
def test_gpus_go_to_steps_that_compute(flavor: str, step: str, gpu: str, tmp_path: Path) -> None:
    choices = Choices("quickstart", flavor, "docker", dry=True)
    assert environment.for_container(choices, step_call.make(choices, step), tmp_path, capture=True).gpu == gpu


def test_a_process_does_not_inherit_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    call = step_call.make(DRY, "train")
    command, made = environment.for_process(DRY, "venv", call)
    assert command == step_call.argv(call, str(venv.python("train", "cpu")))
    assert not {"PYTHONPATH", "VIRTUAL_ENV"} & made.keys()
    assert (made["PYTHONHASHSEED"], made["PYTHONNOUSERSITE"]) == ("0", "1")
    command, made = environment.for_process(DRY, "here", call)
    assert (command[0], made["PYTHONPATH"]) == (sys.executable, "/elsewhere")  # inside an image, its own


def test_limits_are_checked_without_a_container_and_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    choices = Choices("quickstart", "cpu", "venv", dry=True)
    monkeypatch.setenv("PINTUNE_PIDS", "99")
    assert "PINTUNE_PIDS" not in environment.for_process(choices, "venv", step_call.make(choices, "format"))[1]
    assert environment.for_process(choices, "here", step_call.make(choices, "format"))[1]["PINTUNE_PIDS"] == "99"
    monkeypatch.setenv("PINTUNE_MEMORY", "1k")
    with pytest.raises(Stop, match="found: '1k'\n where: PINTUNE_MEMORY"):
        environment.for_process(choices, "venv", step_call.make(choices, "format"))


def test_a_checkout_without_a_repository_has_no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "revision", lambda: ("", False))
    made = environment.variables(DRY, "venv", "train")
    assert (made["PINTUNE_REVISION"], made["PINTUNE_DIRTY"]) == ("", "")  # not that of the caller's environment


def test_a_path_that_is_not_utf8_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))
    root.mkdir()
    monkeypatch.setattr(matrix, "ROOT", root)
    with pytest.raises(Stop, match="rename that folder"):
        environment.need_folders()
    assert git.revision() == ("", False)


def test_a_link_to_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to("disk")
    environment.need_folders()
    (tmp_path / "runs").symlink_to("/gone/runs")
    with pytest.raises(Stop, match="mkdir -p /gone/runs"):
        environment.need_folders()


def test_the_image_dev_gets_the_pipelines_code() -> None:
    for image, mounted in (("train", False), ("dev", True)):
        chosen = dataclasses.replace(DRY, image=image)
        made = environment.for_container(chosen, step_call.make(chosen, "train"), Path("scratch"), capture=False)
        assert made.image == f"pintune/{image}:cpu"
        assert ("/pintune/pipeline" in [each.target for each in made.mounts if not each.writable]) is mounted
