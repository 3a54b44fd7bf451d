"""What a build reads besides the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from images.building import inputs
from images.errors import Stop


def test_the_printed_command_writes_what_the_printed_build_reads(bare: Path) -> None:
    words = inputs.argv("train", "cpu")[1:]
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "https://token@index.invalid/simple"}
    subprocess.run([sys.executable, *words], cwd=bare, check=True, env={**os.environ, **settings})
    secrets = bare / ".pintune" / "secrets"
    assert sorted(path.name for path in secrets.iterdir()) == ["certificates", "pip.conf", "uv.toml"]
    assert "https://token@index.invalid/simple" in (secrets / "pip.conf").read_text()
    assert all(path.stat().st_mode & 0o077 == 0 for path in (secrets, *secrets.iterdir()))
    assert all(folder.is_dir() for folder in (bare / ".pintune" / "debs", bare / ".pintune/wheelhouse/train-cpu"))


def test_without_a_network_the_folder_is_all(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="a wheel of every locked package"):
        inputs.need("train", "cpu", tmp_path)
    inputs.write(tmp_path, "train", "cpu", offline=tmp_path)
    assert "no-index = true" in (tmp_path / "pip.conf").read_text()


def test_the_command_has_the_settings_of_its_build() -> None:
    assert inputs.argv("dev", "cpu", Path("/w"), True)[3:] == ["dev", "cpu", "--offline", "/w", "--downloads"]
