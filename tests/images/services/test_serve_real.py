"""`invoke serve` and `invoke down` through a real engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.marks import Invoke

pytestmark = pytest.mark.docker
FLAGS = ("--model", "models/served", "--runner", "docker")


def _docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _mine(checkout: Path) -> str:
    return f"label=dev.pintune.checkout={checkout}"


@pytest.fixture(scope="module")
def built(engine_there: None, invoke: Invoke, checkout: Path, tiny_model: Path) -> Path:
    """The checkout, with the image and a model."""
    done = invoke("build", "--image", "serve", "--flavor", "cpu", "--runner", "docker")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shutil.copytree(tiny_model, checkout / "models" / "served")
    return checkout


def test_a_server_is_started_once_and_stopped_without_a_trace(built: Path, invoke: Invoke) -> None:
    started = invoke("serve", *FLAGS, "--port", "18600")
    try:
        assert started.returncode == 0, started.stderr
        found = re.search(r"(http://127\.0\.0\.1:\d+)/v1: the model served .* ready after", started.stdout)
        assert found is not None, started.stdout
        url = found.group(1)
        (container,) = _docker("ps", "--quiet", "--filter", _mine(built)).split()
        made: dict[str, Any] = json.loads(_docker("inspect", container))[0]
        host = made["HostConfig"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and "no-new-privileges" in host["SecurityOpt"]
        assert made["Config"]["User"].split(":")[0] not in ("", "0")
        assert {each["HostIp"] for each in host["PortBindings"]["8000/tcp"]} == {"127.0.0.1"}
        assert not [each for each in made["Mounts"] if each["RW"] and each["Type"] == "bind"]
        network = json.loads(_docker("network", "inspect", host["NetworkMode"]))[0]
        assert network["Options"]["com.docker.network.bridge.enable_ip_masquerade"] == "false"
        body = {"model": "served", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
        asked = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode())
        asked.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(asked) as answer:
            assert json.load(answer)["usage"]["completion_tokens"] == 4
        again = invoke("serve", *FLAGS)
        assert "it runs already" in again.stdout and url in again.stdout
        assert len(_docker("ps", "--quiet", "--filter", _mine(built)).split()) == 1
    finally:
        stopped = invoke("down", "--name", "serve")
    assert stopped.returncode == 0 and f"stopped serve, {url}" in stopped.stdout
    for kind in ("container", "network"):
        assert (
            _docker(kind, "ls", "--quiet", *(["--all"] if kind == "container" else []), "--filter", _mine(built)) == ""
        )
    assert not (built / ".pintune" / "services").exists()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{url}/health")
    assert "nothing runs" in invoke("down", "--name", "serve").stderr
    assert "invoke down --name serve" in invoke("down", "serve").stderr


def test_a_key_for_all_addresses_is_demanded_and_printed_once(built: Path, invoke: Invoke) -> None:
    started = invoke("serve", *FLAGS, "--host", "0.0.0.0", "--port", "18700")
    try:
        assert started.returncode == 0, started.stderr
        found = re.search(r"(http://\S+)/v1: (?s:.*)key, shown once: (\S+)", started.stdout)
        assert found is not None, started.stdout
        models = urllib.request.Request(f"{found.group(1)}/v1/models")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(models)
        assert refused.value.code == 401
        refused.value.close()
        models.add_header("Authorization", f"Bearer {found.group(2)}")
        with urllib.request.urlopen(models) as answer:
            assert answer.status == 200
        (container,) = _docker("ps", "--quiet", "--filter", _mine(built)).split()
        assert found.group(2) not in _docker("logs", container)
    finally:
        assert invoke("down").returncode == 0


def test_one_that_fails_shows_its_log_and_leaves_no_container(built: Path, invoke: Invoke) -> None:
    broken = built / "models" / "broken"
    shutil.copytree(built / "models" / "served", broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    failed = invoke("serve", "--model", "models/broken", "--runner", "docker")
    assert failed.returncode == 1 and "wanted: weights that can be read" in failed.stderr
    assert _docker("ps", "--all", "--quiet", "--filter", _mine(built)) == ""
