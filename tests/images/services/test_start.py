"""Services as real processes: started, found, stopped; and what a failure says."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from images import engine, matrix
from images.errors import Stop
from images.services import processes, start
from images.services.service import Running, Service, url

LISTENS = """
import http.server, sys
print("listening", flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without services, and no engine."""
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.setattr(engine, "answers", lambda: False)
    return tmp_path


def _service(code: str = LISTENS, patience: int = 60) -> Service:
    port = start.free_port("127.0.0.1", 18200)
    command = (sys.executable, "-c", code, str(port))
    return Service("serve", "a model", "127.0.0.1", port, "/v1", "/health", patience, None, command, dict(os.environ))


def test_a_service_is_started_found_and_stopped_without_a_trace(checkout: Path) -> None:
    service = _service()
    before = sorted(checkout.rglob("*"))
    running, seconds = start.start(service)
    try:
        assert running.url == f"http://127.0.0.1:{service.port}/v1" and 0 < seconds < 60
        assert start.found() == start.found("serve") == [running] and start.found("other") == []
        assert start.start(service) == (running, 0.0)
        assert processes.log(running).startswith("listening\n")
        with pytest.raises(Stop, match="one of a model runs") as other:
            start.start(dataclasses.replace(service, of="another model"))
        assert other.value.todo == "invoke down --name serve"
        assert urllib.request.urlopen(running.url).status == 200
    finally:
        assert start.stop("serve") == [running]
    assert not processes.is_alive(running) and start.found() == []
    assert sorted(checkout.rglob("*")) == sorted([*before, checkout / ".pintune"])


def test_the_token_of_a_link_is_found_again_and_written_nowhere(checkout: Path) -> None:
    service = _service()
    service = dataclasses.replace(
        service, link_token="PAGE_TOKEN", environment={**service.environment, "PAGE_TOKEN": "secret-token"}
    )
    running, _ = start.start(service)
    try:
        assert running.link == f"{running.url}?token=secret-token"
        (found,) = start.found()
        assert found.link == running.link and "secret-token" not in repr(found)
        written = [file.read_text() for file in processes.folder().iterdir()]
        assert len(written) == 2 and not any("secret-token" in text for text in written)
        if os.getuid() == 0:  # another user of the machine
            assert _as_another_user(checkout, running) == "'' process of another user"
            assert start.found() == [running]
    finally:
        start.stop()


def _as_another_user(checkout: Path, running: Running) -> str:
    """What another user finds of a service's token, and when stopping it."""
    for folder in (checkout, *checkout.parents[:2]):
        folder.chmod(0o755)
    reader, writer = os.pipe()
    if not (child := os.fork()):  # another interpreter may lie where that user must not read
        try:
            os.setuid(65534)
            (found,) = processes.found()
            try:
                processes.stop(found)
            except Stop as stop:
                told = stop.found.replace(f"process {running.handle.split()[0]}", "process")
                os.write(writer, f"{found.token!r} {told}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as file:
        return file.read()


def test_one_that_is_another_users_or_does_not_answer_is_not_found_silently(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = dataclasses.replace(_service(), link_token="PAGE_TOKEN")
    monkeypatch.setattr(processes, "_token", lambda running: "")  # /proc/PID/environ of another user's process
    monkeypatch.setattr(start, "_ANSWER", 1)
    running, _ = start.start(service)
    try:
        with pytest.raises(Stop, match="one that another user started"):
            start.start(service)
        own = dataclasses.replace(service, link_token="")
        record = processes.folder() / "serve.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "link_token": ""}))
        assert start.start(own)[1] == 0.0
        pid = int(running.handle.partition(" ")[0])
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(Stop, match="has not answered at /health for 1 s") as hung:
            start.start(own)
        assert hung.value.todo == "invoke down --name serve, then again"
        os.kill(pid, signal.SIGCONT)
    finally:
        start.stop()


def test_one_that_fails_shows_the_end_of_its_log_and_leaves_nothing(checkout: Path) -> None:
    with pytest.raises(Stop, match="line 39") as failed:
        start.start(_service("for number in range(40): print('line', number)"))
    assert "line 24\n" not in failed.value.found and "it ended" in failed.value.found
    assert not processes.folder().exists() and start.found() == []


def test_one_that_is_never_ready_is_stopped(checkout: Path) -> None:
    with pytest.raises(Stop, match="not ready after 1 s"):
        start.start(_service("import time; time.sleep(600)", patience=1))
    assert start.found() == [] and not processes.folder().exists()


def test_a_record_of_another_process_stops_nothing(checkout: Path) -> None:
    """A process has the number of one that has ended, or a restart of the machine lies between."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        processes.folder().mkdir(parents=True)
        stale = Running("serve", "a model", "http://127.0.0.1:1/v1", f"{other.pid} 12345 another-boot")
        record = processes.folder() / "serve.json"
        record.write_text(json.dumps(dataclasses.asdict(stale)))
        assert not processes.is_alive(stale) and start.found() == [] and not record.exists()
        processes.stop(stale)
        assert other.poll() is None
        record.parent.mkdir(exist_ok=True)
        record.write_text("{")
        assert start.found() == []
        other.communicate(b"\n")


def test_the_next_free_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", start.free_port("127.0.0.1", 18400)))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < start.free_port("127.0.0.1", port) < port + 100
    with pytest.raises(Stop, match=r"a free port of 203\.0\.113\.1"):
        start.free_port("203.0.113.1", 8000)


def test_links() -> None:
    assert [url(host, 80, "/v1") for host in ("127.0.0.1", "0.0.0.0", "::1", "::")] == [
        "http://127.0.0.1:80/v1",
        "http://127.0.0.1:80/v1",
        "http://[::1]:80/v1",
        "http://[::1]:80/v1",
    ]


@pytest.mark.parametrize("port", [0, -1, 65536, 70000])
def test_what_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(Stop, match="a port from 1 to 65535"):
        start.free_port("127.0.0.1", port)
