"""Finding the engine, and its report on GPUs; test_engine_real.py uses a real one."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from images import engine
from images.errors import Stop


@pytest.fixture(autouse=True)
def own_client() -> Iterator[None]:
    """A client of its own for each test."""
    engine.client.cache_clear()
    yield
    engine.client.cache_clear()


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Starts an HTTP server with the part of the engine's API that `docker info` needs."""
    servers = []

    def start(info: dict[str, Any]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers = {"/version": {"ApiVersion": "1.43", "Version": "26.1"}, "/info": info}
                found = next((each for path, each in answers.items() if self.path.endswith(path)), "OK")
                body = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_port}")

    yield start
    if engine.client.cache_info().currsize:
        engine.client().close()
    for server in servers:
        server.shutdown()
        server.server_close()


def test_no_engine_is_a_message_that_names_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    assert not engine.answers()
    with pytest.raises(Stop) as stopped:
        engine.client()
    assert stopped.value.found == "No such file or directory"
    assert stopped.value.where == "unix:///nonexistent/docker.sock"


@pytest.mark.parametrize(
    ("runtimes", "spec", "how"),
    [
        (["nvidia", "runc"], "", "nvidia"),
        (["runc"], "kind: nvidia.com/gpu\n", "cdi"),
        (["runc"], "kind: other.com/device\n", ""),
        (["runc"], "", ""),
    ],
)
def test_how_containers_get_gpus(
    answering: Callable[[dict[str, Any]], None], tmp_path: Path, runtimes: list[str], spec: str, how: str
) -> None:
    (tmp_path / "gpu.yaml").write_text(spec)
    (tmp_path / "notes.txt").write_text("nvidia.com/gpu")
    folders = [str(tmp_path), str(tmp_path / "missing")]
    answering({"Runtimes": {name: {} for name in runtimes}, "CDISpecDirs": folders})
    assert engine.answers()
    assert engine.version() == "26.1"
    assert engine.gpu_access() == how


def test_space_on_another_machine_is_not_measured(answering: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    answering({"DockerRootDir": str(tmp_path / "on another machine")})
    assert engine.free_space() is None


def test_buildx_is_found_by_its_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine.buildx_version() is None  # no docker command at all
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho github.com/docker/buildx v0.13.1 788433953af1\n")
    docker.chmod(0o755)
    assert engine.buildx_version() == "v0.13.1"
    docker.write_text("#!/bin/sh\nexit 1\n")
    assert engine.buildx_version() is None


def test_a_command_is_quoted_for_a_shell() -> None:
    assert engine.shown(["docker", "run", "--env", "A=b c", "i"]) == "docker run --env 'A=b c' i"


def test_buildx_has_a_folder_where_home_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_CONFIG", "BUILDX_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "BUILDX_CONFIG" not in engine.buildx_environment()
    monkeypatch.setenv("HOME", "/dev/null/home")  # which not even root can make
    assert engine.buildx_environment()["BUILDX_CONFIG"].endswith("/.pintune/buildx")
