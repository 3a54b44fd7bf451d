"""A checkout of root's, shared with the devcontainer's user; test_devcontainer_real.py works in one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from images.running import container
from images.verbs import workspace


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a script, git's folder, an environment, runs and a link that leads out."""
    for name in ("a/script.sh", ".git/index", ".venv/bin/python", "runs/q/x", ".pintune/secrets/pip.conf"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "a" / "script.sh").chmod(0o755)
    (tmp_path / "a" / "link").symlink_to("/etc/passwd")
    return tmp_path


def _of(path: Path) -> tuple[int, str]:
    return path.stat().st_gid, stat.filemode(path.stat().st_mode)


def test_the_containers_group_can_write_all_but_environments_and_secrets(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = container.OTHER_UID if os.getuid() == 0 else os.getgid()  # only root gives files to another group
    monkeypatch.setattr(container, "OTHER_UID", group)
    monkeypatch.setattr("os.getuid", lambda: 0)
    owner = checkout.stat().st_uid
    kept = [checkout / ".pintune/secrets/pip.conf", checkout / "runs/q/x", Path("/etc/passwd")]
    before = [_of(path) for path in kept]
    for _ in range(2):  # it is opened more than once
        workspace.share(checkout)
        assert _of(checkout / "a")[0] == group
        assert _of(checkout / "a")[1][4:7] == "rws"
        assert _of(checkout / "a/script.sh") == (group, "-rwxrwxr-x")
        assert _of(checkout / ".git/index") == (group, "-rw-rw----")
        assert _of(checkout / ".pintune")[0] == group
        assert _of(checkout / ".venv/bin/python")[1] == "-rw-------"
        assert [_of(path) for path in kept] == before
    assert (checkout / "a").stat().st_uid == owner  # git on the host works as before


def test_another_users_checkout_stays_as_it_is(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: _of(path) for path in checkout.rglob("*")}
    monkeypatch.setattr("os.getuid", lambda: 501)
    workspace.share(checkout)
    assert {path: _of(path) for path in checkout.rglob("*")} == before
    assert workspace.git_settings("/w") == {}


def test_git_gets_the_folder_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    assert workspace.git_settings("/w")["GIT_CONFIG_VALUE_0"] == "/w"
