"""Services as processes: a record of each that runs, and its log.

.pintune/services/serve.json, .pintune/services/serve.log
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from images import matrix
from images.errors import Stop
from images.services.service import Running, Service, url

_GRACE = 40  # seconds from SIGTERM to SIGKILL: requests in progress get 30

_own: dict[int, subprocess.Popen[bytes]] = {}  # that this process has started


def folder() -> Path:
    """The folder of records and logs."""
    return matrix.ROOT / ".pintune" / "services"


def start(service: Service) -> Running:
    """Start a service in the background, in a session of its own, and record it."""
    folder().mkdir(parents=True, exist_ok=True)
    with _log(service.name).open("wb") as log:
        process = subprocess.Popen(
            service.command,
            cwd=matrix.ROOT,
            env=dict(service.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _own[process.pid] = process
    handle = f"{process.pid} {_started(process.pid)}"
    link = url(service.host, service.port, service.path)
    token = service.environment.get(service.link_token, "")
    running = Running(service.name, service.of, link, handle, service.link_token, token)
    recorded = {key: value for key, value in dataclasses.asdict(running).items() if key != "token"}
    _record(service.name).write_text(json.dumps(recorded, indent=2) + "\n", encoding="utf-8")
    return running


def found() -> list[Running]:
    """The services that run; the records of those that have ended are removed."""
    running = []
    for record in sorted(folder().glob("*.json")):
        try:
            each = Running(**json.loads(record.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            each = None
        if each and is_alive(each):
            running.append(dataclasses.replace(each, token=_token(each)))
        else:
            record.unlink(missing_ok=True)
    return running


def is_alive(running: Running) -> bool:
    """Whether the process that was started still runs: its number may be another's by now."""
    pid, _, started = running.handle.partition(" ")
    if own := _own.get(int(pid)):
        own.poll()  # which reaps it
    return _started(int(pid)) == started != ""


def stop(running: Running) -> None:
    """End a service, and remove its record and its log."""
    pid = int(running.handle.partition(" ")[0])
    if is_alive(running):
        try:
            os.kill(pid, signal.SIGTERM)
        except PermissionError:
            found, todo = f"process {pid} of another user", "ask them to stop it"
            raise Stop(f"a {running.name} that you may stop", found, running.url, todo) from None
    end = time.monotonic() + _GRACE
    while is_alive(running) and time.monotonic() < end:
        time.sleep(0.05)
    if is_alive(running):
        os.killpg(pid, signal.SIGKILL)
    if own := _own.pop(pid, None):
        own.wait()
    _record(running.name).unlink(missing_ok=True)
    _log(running.name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # another service's are there
        folder().rmdir()


def log(running: Running) -> str:
    """What a service has written."""
    file = _log(running.name)
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


def _record(name: str) -> Path:
    return folder() / f"{name}.json"


def _log(name: str) -> Path:
    return folder() / f"{name}.log"


def _token(running: Running) -> str:
    """The token in a process's environment, which only its user may read (proc(5)); "" if there is none."""
    try:
        own = Path(f"/proc/{running.handle.partition(' ')[0]}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return dict(line.decode(errors="replace").partition("=")[::2] for line in own).get(running.link_token, "")


def _started(pid: int) -> str:
    """When a process started, in ticks since the boot of that ID (proc(5)); "" if there is none, or it has ended."""
    try:
        # the name before it may have spaces and brackets
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else f"{fields[19]} {boot}"
