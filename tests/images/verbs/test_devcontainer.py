"""The devcontainer's configuration, and what the host passes on to it; test_devcontainer_real.py opens it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images import matrix, pip_config
from images.verbs import devcontainer
from tests.conftest import ROOT


def _devcontainer() -> dict[str, object]:
    made: dict[str, object] = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    return made


def test_the_devcontainer_uses_what_the_host_prepares() -> None:
    made = _devcontainer()
    assert made["image"] == "pintune/dev:latest"
    assert made["workspaceFolder"] == devcontainer.WORKSPACE
    assert f"${{localWorkspaceFolder}}/.pintune/{devcontainer.FOLDER}/environment" in str(made["runArgs"])
    assert made["remoteUser"] == "pintune"
    assert made["hostRequirements"] == {"gpu": "optional"}
    assert not made.get("features")
    assert set(made["portsAttributes"]) == {"8888", "6006", "7860"}  # type: ignore[call-overload]
    assert str(made["postCreateCommand"]).endswith("invoke doctor")


def test_pips_settings_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    (tmp_path / "ca.pem").write_text("certificates")
    devcontainer.pass_on(
        pip_config.Settings(index="https://pypi.example/simple", certificates=tmp_path / "ca.pem"),
        {"PINTUNE_BASE": "debian@sha256:1"},
    )
    folder = tmp_path / ".pintune" / "devcontainer"
    environment = dict(line.split("=", 1) for line in (folder / "environment").read_text().splitlines())
    assert environment["PINTUNE_BASE"] == "debian@sha256:1"
    assert environment["HTTPS_PROXY"] == "http://proxy.invalid:3128"
    for name, file in (("PIP_CONFIG_FILE", "pip.conf"), ("SSL_CERT_FILE", "certificates")):
        assert environment[name] == f"/workspaces/pintune/.pintune/devcontainer/{file}"
        assert (folder / file).stat().st_mode & 0o077 == 0
    assert "https://pypi.example/simple" in (folder / "pip.conf").read_text()
